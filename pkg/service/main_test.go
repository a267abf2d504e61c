package service_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
)

// asProgram makes this test binary run the program of that name.
const asProgram = "TEST_AS_PROGRAM"

// TestMain removes the developer's own settings from the environment, except for those that select the RabbitMQ.
func TestMain(m *testing.M) {
	if name := os.Getenv(asProgram); name != "" {
		service.Main(processes[name])
	}
	testmain.NoSettings()
	testmain.Waiting(8)
	testmain.Leaks(m)
}

// A unit of work, and the contracts and services of these tests.
type unit struct {
	N int `json:"n"`
}

var (
	do       = leveret.NewCommand[unit]("unit.do")
	ask      = leveret.NewRequest[unit, unit]("unit.ask")
	happened = leveret.NewEvent[unit]("unit.happened")
	units    = leveret.NewService("unit", leveret.Handles(do), leveret.Answers(ask),
		leveret.Sends(do), leveret.Publishes(happened), leveret.Calls(ask))
	// front only sends, and serves nothing.
	front = leveret.NewService("front", leveret.Sends(do))
)

// log collects a program's standard error. It is safe for concurrent use.
type log struct {
	testmain.Output
}

// records returns the decoded records with the given message.
func (l *log) records(t *testing.T, msg string) []map[string]any {
	t.Helper()
	var found []map[string]any
	lines := bufio.NewScanner(strings.NewReader(l.String()))
	for lines.Scan() {
		var record map[string]any
		require.NoError(t, json.Unmarshal(lines.Bytes(), &record), lines.Text())
		if record["msg"] == msg {
			found = append(found, record)
		}
	}
	return found
}

// await waits for the first record with the given message.
func (l *log) await(t *testing.T, msg string) map[string]any {
	t.Helper()
	var found []map[string]any
	require.Eventually(t, func() bool {
		found = l.records(t, msg)
		return len(found) > 0
	}, 2*time.Minute, 5*time.Millisecond, "no record %q in\n%s", msg, l)
	return found[0]
}

// running is a program running in this process.
type running struct {
	log   *log
	stop  context.CancelFunc
	ended chan int
}

// start runs a program with settings that override all others, until the test ends.
func start(t *testing.T, p service.Program, settings map[string]string) *running {
	t.Helper()
	p.Overrides = map[string]string{
		"health.address": "127.0.0.1:0", "data.dir": t.TempDir(), "log.format": "json", "log.level": "debug",
		"worker.drain_timeout": "2m", "worker.stuck_after": "1m",
	}
	maps.Copy(p.Overrides, settings)
	ctx, stop := context.WithCancel(t.Context())
	r := &running{log: &log{}, stop: stop, ended: make(chan int, 1)}
	go func() {
		defer close(r.ended)
		r.ended <- p.Run(ctx, nil, io.Discard, r.log)
	}()
	t.Cleanup(func() {
		stop()
		for range r.ended {
		}
		if t.Failed() {
			t.Log(r.log)
		}
	})
	return r
}

// end stops the program and returns its exit code.
func (r *running) end(t *testing.T) int {
	t.Helper()
	r.stop()
	return r.code(t)
}

// code waits for the program to end and returns its exit code.
func (r *running) code(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.ended:
		return code
	case <-time.After(5 * time.Minute):
		require.Fail(t, "it does not end", r.log)
		return 0
	}
}

// get sends a request to the program's health server.
func (r *running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	address, _ := r.log.await(t, "health")["address"].(string)
	status, body, err := get(t.Context(), "http://"+address+path)
	require.NoError(t, err)
	return status, body
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Minute}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// handlers registers handlers that do nothing for everything that units serves.
func handlers(rt *service.Runtime) {
	do.Handle(rt.Handlers, func(context.Context, unit) error { return nil })
	ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
}
