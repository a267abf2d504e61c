package service_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
)

// processes are the programs that this test binary can run: see asProgram.
var processes = map[string]service.Program{
	"unitd": {Service: units, Name: "unitd", Version: "1.2.3", About: "unitd does units.", Setup: setUpProcess},
	"webd": {Service: front, Name: "webd", Setup: func(_ context.Context, rt *service.Runtime) error {
		rt.ServeHTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			rt.Logger.InfoContext(r.Context(), "begun")
			held()
		}))
		return nil
	}},
}

// setUpProcess registers a handler that blocks as long as the file in TEST_HOLD exists.
func setUpProcess(_ context.Context, rt *service.Runtime) error {
	do.Handle(rt.Handlers, func(ctx context.Context, u unit) error {
		rt.Logger.InfoContext(ctx, "begun", "n", u.N)
		held()
		return happened.Publish(ctx, rt.Client, u)
	})
	ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
	return nil
}

// held blocks as long as the file in TEST_HOLD exists.
func held() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := os.Stat(os.Getenv("TEST_HOLD")); err != nil {
			return
		}
	}
}

// process is a program in its own process.
type process struct {
	cmd    *exec.Cmd
	log    *log
	health string // its address
}

// launch starts a program in its own process, configured only by environment variables. It is killed when the test
// ends.
func launch(t *testing.T, env ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), log: &log{}, health: freeAddress(t)}
	p.cmd.Env = append(os.Environ(), append([]string{
		asProgram + "=unitd", "LEVERET_DATA_DIR=" + t.TempDir(), "LEVERET_HEALTH_ADDRESS=" + p.health,
	}, env...)...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stderr = p.log
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Log(p.log)
		}
	})
	return p
}

// handedOut are the ports that tests have from freeAddress.
var handedOut sync.Map

// freeAddress returns a free address that no other test gets and no outgoing connection takes: systems begin with higher
// ports for those.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		port := 16000 + rand.IntN(4000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			require.NoError(t, l.Close())
			return l.Addr().String()
		}
	}
	require.Fail(t, "no port is free")
	return ""
}

// code waits for the process to end and returns its exit code.
func (p *process) code(t *testing.T) int {
	t.Helper()
	_ = p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}

// healthcheck runs the program's subcommand as a process.
func (p *process) healthcheck(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"healthcheck"}, args...)...)
	cmd.Env, cmd.Dir = p.cmd.Env, p.cmd.Dir
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// sender sends to the program's queues.
func sender(t *testing.T, broker string) *leveret.Client {
	t.Helper()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	client, err := leveret.NewClient(conn, units, leveret.ClientConfig{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = client.Close(ctx)
		_ = conn.Close(ctx)
	})
	return client
}

func hold(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hold")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	return path
}

func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	broker, held := leverettest.Broker(t), hold(t)
	p := launch(t, "LEVERET_BROKER_URL="+broker, "TEST_HOLD="+held)
	p.log.await(t, "ready")
	code, out, _ := p.healthcheck(t)
	require.Equal(t, 0, code)
	require.Equal(t, "ready\n", out)

	require.NoError(t, do.Send(t.Context(), sender(t, broker), unit{1}))
	p.log.await(t, "begun")
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, "terminated", p.log.await(t, "draining")["reason"])
	code, _, errs := p.healthcheck(t)
	require.Equal(t, 1, code)
	require.Equal(t, "unitd: not ready:\ndraining\n", errs)

	require.NoError(t, os.Remove(held))
	require.Equal(t, 0, p.code(t))
	requireEmpty(t, broker, "unit.do")
	code, _, errs = p.healthcheck(t)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "the program is not running, or has a different health.address")
}

// A process that has never seen its broker answers what it has begun when SIGTERM comes.
func TestSIGTERMWhileServing(t *testing.T) {
	t.Parallel()
	address, file := freeAddress(t), hold(t)
	p := launch(t, asProgram+"=webd", "LEVERET_HTTP_ADDRESS="+address, "LEVERET_BROKER_URL="+nowhere, "TEST_HOLD="+file)
	p.log.await(t, "http")
	require.Eventually(t, func() bool {
		code, out, _ := p.healthcheck(t, "--part", "http")
		return code == 0 && out == "ready\n"
	}, 2*time.Minute, 50*time.Millisecond)
	conn := dialHTTP(t, address)
	conn.send(t, "/")
	p.log.await(t, "begun")
	p.signal(t, syscall.SIGTERM)
	p.log.await(t, "draining")
	require.NoError(t, os.Remove(file))
	response, _ := conn.receive(t)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, 0, p.code(t))
	require.Empty(t, p.log.records(t, "ready"))
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	p := launch(t, "LEVERET_BROKER_URL="+broker, "TEST_HOLD="+hold(t))
	p.log.await(t, "ready")
	require.NoError(t, do.Send(t.Context(), sender(t, broker), unit{1}))
	p.log.await(t, "begun")
	p.signal(t, os.Interrupt)
	p.log.await(t, "draining")
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, 130, p.code(t))
}

func TestProcessesThatDoNotStart(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	for name, c := range map[string]struct {
		env  []string
		code int
		want string
	}{
		"a wrong value":  {[]string{"LEVERET_WORKER_PREFETCH=many"}, 2, `worker.prefetch: "many" is not a whole number (set by LEVERET_WORKER_PREFETCH)`},
		"a wrong file":   {[]string{"LEVERET_CONFIG=/nowhere.yaml"}, 2, "/nowhere.yaml"},
		"wrong password": {[]string{"LEVERET_BROKER_URL=" + broker, "LEVERET_BROKER_PASSWORD=hunter2", "LEVERET_LOG_LEVEL=debug"}, 7, "the broker refused access"},
		"nobody there":   {[]string{"LEVERET_BROKER_URL=amqp://127.0.0.1:1/", "LEVERET_BROKER_CONNECT_TIMEOUT=3s"}, 7, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := launch(t, c.env...)
			require.Equal(t, c.code, p.code(t))
			require.Contains(t, p.log.String(), c.want)
			require.NotContains(t, p.log.String(), "hunter2")
		})
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	p := launch(t, "LEVERET_BROKER_URL=amqp://127.0.0.1:1/", "LEVERET_BROKER_CONNECT_TIMEOUT=1h")
	p.log.await(t, "cannot connect to the broker; trying again")
	_, port, err := net.SplitHostPort(p.health)
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "[::]", "", "localhost"} {
		code, out, errs := p.healthcheck(t, "--health-address", host+":"+port)
		require.Equal(t, 1, code)
		require.Empty(t, out)
		require.Contains(t, errs, "unitd: not ready:\nstarting: waiting for the broker: amqp://guest@127.0.0.1:1: dial tcp", host)
	}
	for args, want := range map[string]string{
		"--health-address=127.0.0.1:0": "only the log of the running program has its port",
		"--health-address=off":         "so the program cannot be asked",
		"--log-level=loud":             "log.level",
		"--config=/nowhere.yaml":       "/nowhere.yaml",
	} {
		code, _, errs := p.healthcheck(t, args)
		require.Equal(t, 1, code, args)
		require.Contains(t, errs, want)
	}
	code, _, errs := p.healthcheck(t, "--nothing")
	require.Equal(t, 2, code)
	require.Contains(t, errs, "unknown flag: --nothing; see unitd healthcheck --help")
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, 0, p.code(t))
}

// Another program may be listening there, or one that never answers.
func TestHealthcheckOfSomethingElse(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	var out, errs log
	program := service.Program{Service: units, Setup: setUpProcess}
	code := program.Run(t.Context(), []string{"healthcheck", "--timeout", "50ms", "--health-address", silent.Addr().String()}, &out, &errs)
	require.Equal(t, 1, code)
	require.Contains(t, errs.String(), "no answer at "+silent.Addr().String())

	node, err := url.Parse(leverettest.Node(t).ManagementURL())
	require.NoError(t, err)
	code = program.Run(t.Context(), []string{"healthcheck", "--health-address", node.Host}, &out, &errs)
	require.Equal(t, 1, code)
	require.Contains(t, errs.String(), "another program is listening there")
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--version":          "unitd 1.2.3\n",
		"--help":             "Usage:\n  unitd [flags]\n  unitd healthcheck ",
		"healthcheck --help": "Usage:\n  unitd healthcheck [flags]\n\nHealth:\n",
	} {
		var out, errs log
		require.Equal(t, 0, processes["unitd"].Run(t.Context(), strings.Fields(args), &out, &errs))
		require.Contains(t, out.String(), want)
		require.Empty(t, errs.String())
	}
	for _, args := range []string{"helthcheck", "--nothing", "healthcheck x"} {
		var out, errs log
		require.Equal(t, 2, processes["unitd"].Run(t.Context(), strings.Fields(args), &out, &errs))
		require.Contains(t, errs.String(), "--help")
		require.Empty(t, out.String())
	}
}

// The broker dies and comes back while one program is ready and another is in its Setup.
func TestTheBrokerDiesAndComesBack(t *testing.T) {
	t.Parallel()
	node, err := devbroker.Start(t.Context(), devbroker.Config{Private: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		require.NoError(t, node.Close(ctx))
	})
	p := launch(t, "LEVERET_BROKER_URL="+node.URL())
	p.log.await(t, "ready")
	inSetup, goOn := make(chan struct{}), make(chan struct{})
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		handlers(rt)
		close(inSetup)
		<-goOn
		return nil
	}}, map[string]string{
		"broker.url": node.URL(), "broker.namespace": "inside",
		"worker.drain_timeout": "10s", "worker.stuck_after": "5s", // in the end it shuts down without a broker that answers
	})
	<-inSetup

	require.NoError(t, node.Kill())
	close(goOn)
	r.log.await(t, "connection lost")
	requireNotReady(t, r, "connect: connection refused")
	require.Eventually(t, func() bool { // each of the two connections finds out by itself
		_, metrics := r.get(t, "/metrics")
		return strings.Contains(metrics, `leveret_connection_up{leveret_connection="consume"} 0`)
	}, 2*time.Minute, 20*time.Millisecond)
	p.log.await(t, "connection lost")
	require.Eventually(t, func() bool {
		code, _, errs := p.healthcheck(t)
		return code == 1 && strings.Contains(errs, "the connection for publishing is connecting since ")
	}, 2*time.Minute, 20*time.Millisecond)
	status, body, err := get(t.Context(), "http://"+p.health+"/healthz")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "ok\n", body)
	require.Empty(t, r.log.records(t, "ready"))

	require.NoError(t, node.Start(t.Context()))
	r.log.await(t, "ready")
	require.Eventually(t, func() bool {
		status, _, err := get(t.Context(), "http://"+p.health+"/readyz")
		return err == nil && status == 200
	}, 2*time.Minute, 50*time.Millisecond)
	require.NoError(t, do.Send(t.Context(), sender(t, node.URL()), unit{}))
	p.log.await(t, "begun")
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, 0, p.code(t))
	require.Len(t, p.log.records(t, "ready"), 1)

	// During an alarm, the broker accepts no messages and notifies connections that send one.
	_, err = node.Ctl(t.Context(), "set_vm_memory_high_watermark", "0.0001")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		err := do.Send(ctx, rt.Client, unit{})
		return errors.Is(err, leveret.ErrBlocked)
	}, 2*time.Minute, 10*time.Millisecond)
	requireNotReady(t, r, "the connection for publishing is blocked since ")
	_, err = node.Ctl(t.Context(), "set_vm_memory_high_watermark", "0.6")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, _ := r.get(t, "/readyz")
		return status == 200
	}, 2*time.Minute, 10*time.Millisecond)

	require.NoError(t, node.Pause()) // a broker that hangs does not prevent shutdown
	require.Equal(t, 0, r.end(t))
	require.NoError(t, node.Resume())
}

func requireNotReady(t *testing.T, r *running, want string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, body := r.get(t, "/readyz")
		return status == 503 && strings.Contains(body, want)
	}, 2*time.Minute, 20*time.Millisecond)
}
