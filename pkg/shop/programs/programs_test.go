package programs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// asProgram makes this test binary run one of the shop's programs, as the binary of that name would.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if name := os.Getenv(asProgram); name != "" {
		i := slices.IndexFunc(programs.All(), func(p service.Program) bool { return p.Service.Name() == name })
		service.Main(programs.All()[i])
	}
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, config.EnvPrefix) && name != "LEVERET_RABBITMQ_BIN" && name != "LEVERET_BROKER_URL" && name != "LEVERET_BROKER_MANAGEMENT_URL" {
			_ = os.Unsetenv(name)
		}
	}
	testmain.Waiting(4)
	testmain.Leaks(m)
}

// Each program starts in its own process, with a configuration file that all share, becomes ready, and drains.
func TestProgramsAreProcesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "leveret.yaml")
	require.NoError(t, os.WriteFile(file, []byte("data:\n  dir: "+dir+"\npayment:\n  delay: 1ms\n"), 0o600))
	broker := leverettest.Broker(t)
	for _, p := range programs.All() {
		name := p.Service.Name()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "--config", file, "--health-address", "127.0.0.1:0")
			cmd.Env = append(os.Environ(), asProgram+"="+name, "LEVERET_BROKER_URL="+broker)
			stored := shoptest.Settings(t, name)
			if stored != nil {
				cmd.Env = append(cmd.Env, "LEVERET_DATABASE_URL="+stored["database.url"])
			}
			for key, variable := range map[string]string{"http.address": "LEVERET_HTTP_ADDRESS", "grpc.address": "LEVERET_GRPC_ADDRESS"} {
				if p.Defaults[key] != "" { // the usual one may be taken
					cmd.Env = append(cmd.Env, variable+"=127.0.0.1:0")
				}
			}
			logged, err := cmd.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			lines := json.NewDecoder(logged)
			var record struct {
				Msg, Service, Health string
				Queues               []string
			}
			for record.Msg != "ready" {
				require.NoError(t, lines.Decode(&record))
			}
			require.Equal(t, name, record.Service)
			require.Len(t, record.Queues, map[string]int{"order": 10, "inventory": 2, "payment": 4, "auth": 5, "user": 3, "notify": 3}[name])
			if stored == nil {
				require.FileExists(t, filepath.Join(dir, name+".db"))
			}

			var out, errs bytes.Buffer
			require.Equal(t, 0, p.Run(t.Context(), []string{"healthcheck", "--timeout", "2m", "--health-address", record.Health}, &out, &errs), errs.String())
			require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
			for record.Msg != "ended" {
				require.NoError(t, lines.Decode(&record))
			}
			_, err = io.Copy(io.Discard, logged)
			require.NoError(t, err)
			require.NoError(t, cmd.Wait())
		})
	}
}

func TestWrongOwnSettings(t *testing.T) {
	t.Parallel()
	for _, p := range programs.All() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		p.Overrides = map[string]string{"payment.delay": "soon"}
		var out, errs bytes.Buffer
		require.Equal(t, 2, p.Run(ctx, nil, &out, &errs))
		require.Contains(t, errs.String(), `payment.delay: "soon" is not a duration`)
	}
}

// An address at which nobody can be called is reported with the key that has it.
func TestWrongPeers(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	for _, p := range programs.All() {
		if p.Service.Name() != "order" {
			continue
		}
		p.Overrides = map[string]string{
			"broker.url": broker, "data.dir": t.TempDir(), "health.address": "off", "http.address": "127.0.0.1:0",
			"peers.payment.http_url": "ftp://x",
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var out, errs bytes.Buffer
		require.Equal(t, 1, p.Run(ctx, nil, &out, &errs))
		require.Contains(t, out.String()+errs.String(), "peers.payment.http_url: ")
	}
}

// A time limit that is none is refused, as one in which nobody can answer.
func TestWrongTimeLimit(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	for _, limit := range []string{"0s", "-1m", "1ns", "999ms"} {
		p := programs.Order()
		p.Overrides = map[string]string{
			"broker.url": broker, "data.dir": t.TempDir(), "health.address": "off", "http.address": "127.0.0.1:0", "order.time_limit": limit,
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var out, errs bytes.Buffer
		require.NotZero(t, p.Run(ctx, nil, &out, &errs))
		require.Contains(t, out.String()+errs.String(), "order.time_limit")
	}
}

// A program has flags for the settings that it uses, and no others.
func TestOwnFlags(t *testing.T) {
	t.Parallel()
	for _, p := range programs.All() {
		var out bytes.Buffer
		require.Equal(t, 0, p.Run(t.Context(), []string{"--help"}, &out, io.Discard))
		require.Equal(t, p.Service.Name() == "payment", strings.Contains(out.String(), "--payment-delay"))
		require.Equal(t, p.Service.Name() == "order", strings.Contains(out.String(), "--order-time-limit"))
		require.Contains(t, out.String(), p.Defaults["health.address"])
		require.Contains(t, out.String(), p.About)
	}
}
