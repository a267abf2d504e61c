package crossing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// The environment of a process that serves the oracle until it is asked: it then does what it is for, which is a line
// in a file, and dies before it answers.
const (
	mortalBroker  = "TEST_MORTAL_BROKER"
	mortalEffects = "TEST_MORTAL_EFFECTS"
)

// TestMortalProcess is that process. Without the environment it does nothing.
func TestMortalProcess(t *testing.T) {
	broker, effects := os.Getenv(mortalBroker), os.Getenv(mortalEffects)
	if broker == "" {
		return
	}
	s := stageAt(t, broker, answering(func(context.Context, question) (answer, error) {
		file, err := os.OpenFile(effects, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = file.WriteString("done\n")
		require.NoError(t, err)
		process, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, process.Kill())
		select {}
	}), telemetry{}, bound(ask))
	require.NoError(t, json.NewEncoder(os.Stdout).Encode(map[string]string{"url": s.url, "address": s.address}))
	select {}
}

// mortal is a process that dies between its effect and its answer.
type mortal struct {
	*stage

	process *exec.Cmd
	effects string
}

func startMortal(t *testing.T) *mortal {
	t.Helper()
	m := &mortal{stage: &stage{broker: leverettest.Broker(t), methods: []grpcrpc.Method{bound(ask)}}, effects: filepath.Join(t.TempDir(), "effects")}
	m.process = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestMortalProcess$")
	m.process.Env = append(os.Environ(), mortalBroker+"="+m.broker, mortalEffects+"="+m.effects)
	m.process.Stderr = os.Stderr
	out, err := m.process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, m.process.Start())
	t.Cleanup(func() { _ = m.process.Process.Kill() })
	var at struct{ URL, Address string }
	require.NoError(t, json.NewDecoder(out).Decode(&at))
	m.url, m.address = at.URL, at.Address
	return m
}

// died waits for the end of the process, and checks that it did what it was asked once.
func (m *mortal) died(t *testing.T) {
	t.Helper()
	require.Error(t, m.process.Wait())
	effects, err := os.ReadFile(m.effects)
	require.NoError(t, err)
	require.Equal(t, "done\n", string(effects))
}

// What a server did before it died is unknown to its caller, whatever the transport, and to that one's own caller, who
// gets 504 over HTTP. Nothing is done twice.
func TestServerDiesBeforeItAnswers(t *testing.T) {
	t.Parallel()
	for transport, code := range map[string]leveret.Code{
		"HTTP/1.1": leveret.Unavailable, "h2c": leveret.Unavailable, "gRPC": leveret.Unavailable,
		"AMQP": leveret.Aborted, // by the next worker, which does not handle it
	} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			m := startMortal(t)
			next := m.callers(t, guest)[transport]
			pay := newRequest("edge.pay")
			edge := leveret.NewHandlers(leveret.NewService("edge", leveret.Answers(pay)), leveret.HandlersConfig{})
			failed := make(chan error, 1)
			pay.Answer(edge, func(ctx context.Context, q question) (answer, error) {
				a, err := ask.Call(ctx, next, q)
				failed <- err
				return a, err
			})
			url := "http://" + serveHTTP(t, listen(t, ""), edge, telemetry{})
			type answered struct {
				*http.Response
				body []byte
			}
			answers := make(chan answered, 1)
			go func() {
				response, body := post(t, url+"/edge.pay", "it") //nolint:testifylint // a failure ends the wait below
				answers <- answered{response, body}
			}()
			m.died(t)
			if transport == "AMQP" {
				work(t, connect(t, m.broker, telemetry{}), answering(func(context.Context, question) (answer, error) {
					return answer{"handled twice"}, nil
				}))
			}
			err := receive(t, failed, "the call has no end")
			require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
			require.ErrorIs(t, err, code)
			require.Equal(t, transport == "AMQP", leveret.IsRemote(err))

			got := receive(t, answers, "there is no answer")
			require.Equal(t, http.StatusGatewayTimeout, got.StatusCode)
			var p problem
			require.NoError(t, json.NewDecoder(bytes.NewReader(got.body)).Decode(&p))
			require.Equal(t, leveret.ReasonOutcomeUnknown, p.Reason)
			require.Equal(t, code.String(), p.Code)
			require.Equal(t, http.StatusGatewayTimeout, p.Status)
		})
	}
}

// A request that is not idempotent is handled once, also where its method would let net/http send it again over another
// connection: a client that is not ours may, ours leaves it to the contract.
func TestLostOnAConnectionThatWasUsedBefore(t *testing.T) {
	t.Parallel()
	for method, idempotent := range map[string]bool{"GET /it": false, "DELETE /it": false, "POST /it": false, "GET /it/again": true} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			options := []leveret.ContractOption{leveret.HTTP(method)}
			if idempotent {
				options = append(options, leveret.Idempotent())
			}
			r := newRequest("oracle.get", options...)
			h := leveret.NewHandlers(leveret.NewService("oracle", leveret.Answers(r)), leveret.HandlersConfig{})
			var handled atomic.Int32
			r.Answer(h, func(_ context.Context, q question) (answer, error) {
				if q.Do == "first" {
					return answer{"ready"}, nil
				}
				if handled.Add(1) == 1 {
					return answer{}, errors.New("cut")
				}
				return answer{"again"}, nil
			})
			served, err := httprpc.NewServer(h, httprpc.ServerConfig{})
			require.NoError(t, err)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := httptest.NewRecorder()
				if served.ServeHTTP(answer, r); answer.Code >= http.StatusInternalServerError {
					panic(http.ErrAbortHandler) // which cuts the connection
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write(answer.Body.Bytes())
			}))
			t.Cleanup(server.Close)
			c := httpCaller(t, telemetry{}, httprpc.CallerConfig{Service: leveret.NewService("guest", leveret.Calls(r)), URLs: []string{server.URL}})
			_, err = r.Call(t.Context(), c, question{"first"})
			require.NoError(t, err)
			a, err := r.Call(t.Context(), c, question{"second"})
			if idempotent {
				require.NoError(t, err)
				require.Equal(t, answer{"again"}, a)
				require.EqualValues(t, 2, handled.Load())
				return
			}
			require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
			require.False(t, leveret.IsRemote(err))
			require.EqualValues(t, 1, handled.Load())
		})
	}
}
