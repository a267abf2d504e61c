package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
)

// web returns a program that consumes what units serves and also serves over HTTP, and gRPC's health service.
func web(handler http.Handler, more ...func(*service.Runtime)) service.Program {
	return service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
		handlers(rt)
		rt.ServeHTTP(handler)
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		rt.ServeGRPC(server)
		for _, m := range more {
			m(rt)
		}
		return nil
	}}
}

// at returns settings for serving at free ports.
func at(broker string, more ...string) map[string]string {
	settings := map[string]string{"broker.url": broker, "http.address": "127.0.0.1:0", "grpc.address": "127.0.0.1:0"}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	return settings
}

// nowhere is a broker that is never there.
const nowhere = "amqp://127.0.0.1:1/"

// address waits until the program serves over "http" or "grpc", and returns where.
func (r *running) address(t *testing.T, name string) string {
	t.Helper()
	address, _ := r.log.await(t, name)["address"].(string)
	return address
}

func hello200(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// isServing asks gRPC's health service.
func isServing(t *testing.T, address string, creds credentials.TransportCredentials) error {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	defer conn.Close()
	reply, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return err
	}
	require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, reply.GetStatus())
	return nil
}

// door leads to a broker from when it is opened.
type door struct{ address, broker string }

// open lets connections through until the test ends.
func (d door) open(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", d.address)
	require.NoError(t, err)
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", d.broker)
			if err != nil {
				_ = near.Close()
				continue
			}
			carrying.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			carrying.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); carrying.Wait() })
}

// A service whose broker is away starts, serves, and says so; when the broker comes, it does the rest.
func TestServingBeforeTheBrokerIsThere(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	before, rest, _ := strings.Cut(broker, "@")
	host, path, _ := strings.Cut(rest, "/")
	d := door{address: freeAddress(t), broker: host}
	handled := make(chan unit, 1)
	var rt *service.Runtime
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		do.Handle(rt.Handlers, func(_ context.Context, u unit) error { handled <- u; return nil })
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		mux := http.NewServeMux()
		mux.HandleFunc("GET /{$}", hello200)
		mux.HandleFunc("POST /units", func(w http.ResponseWriter, r *http.Request) {
			rt.Logger.InfoContext(r.Context(), "sending")
			if err := do.Send(r.Context(), rt.Client, unit{7}); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
			}
		})
		rt.ServeHTTP(mux)
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		rt.ServeGRPC(server)
		return nil
	}}, at(before+"@"+d.address+"/"+path))

	status, body, err := get(t.Context(), "http://"+r.address(t, "http")+"/")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.Equal(t, "hello", body)
	require.NoError(t, isServing(t, r.address(t, "grpc"), insecure.NewCredentials()))
	var lines []string
	require.Eventually(t, func() bool {
		status, body := r.get(t, "/readyz")
		lines = strings.Split(body, "\n")
		return status == 200 && strings.Contains(body, "connection refused")
	}, 2*time.Minute, 10*time.Millisecond)
	require.Equal(t, []string{"http: ready", "grpc: ready"}, lines[:2])
	require.Contains(t, lines[2], "broker: the connection for publishing is connecting since ")
	for path, want := range map[string]int{"/readyz/http": 200, "/readyz/grpc": 200, "/readyz/broker": 503, "/readyz/amqp": 404} {
		status, body := r.get(t, path)
		require.Equal(t, want, status, body)
	}
	_, metrics := r.get(t, "/metrics")
	require.Contains(t, metrics, "\nleveret_service_ready 1\n")
	require.Empty(t, r.log.records(t, "ready"))

	waiting := make(chan error, 1)
	units := "http://" + r.log.records(t, "http")[0]["address"].(string) + "/units"
	go func() {
		response, err := http.Post(units, "", nil) //nolint:gosec // of this test
		if err == nil && response.StatusCode != http.StatusOK {
			err = errors.New(response.Status)
		}
		waiting <- err
	}()
	r.log.await(t, "sending")
	d.open(t)
	require.NoError(t, <-waiting)
	require.Equal(t, unit{7}, <-handled)
	ready := r.log.await(t, "ready")
	require.Equal(t, r.address(t, "http"), ready["http"])
	require.Equal(t, r.address(t, "grpc"), ready["grpc"])
	require.Equal(t, []any{"unit.do", "unit.ask"}, ready["queues"])
	status, body = r.get(t, "/readyz")
	require.Equal(t, 200, status)
	require.Equal(t, "http: ready\ngrpc: ready\nbroker: ready\n", body)
	answer, err := ask.Call(t.Context(), rt.Client, unit{3})
	require.NoError(t, err)
	require.Equal(t, unit{3}, answer)
	require.Equal(t, 0, r.end(t))
	require.NotContains(t, r.log.String(), "not closed cleanly")
}

// A refused login is not the end of a service that has other work, unless broker.connect_timeout says so.
func TestServingWhileTheBrokerRefuses(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	r := start(t, web(http.HandlerFunc(hello200)), at(broker, "broker.password", "hunter2"))
	require.Eventually(t, func() bool {
		status, body := r.get(t, "/readyz/broker")
		return status == 503 && strings.Contains(body, "the broker refused the login")
	}, 2*time.Minute, 10*time.Millisecond)
	require.Contains(t, r.log.await(t, "cannot connect to the broker; trying again")["error"], "refused the login")
	status, _ := r.get(t, "/readyz")
	require.Equal(t, 200, status)
	require.Equal(t, 0, r.end(t))
	require.NotContains(t, r.log.String(), "hunter2")

	r = start(t, web(http.HandlerFunc(hello200)), at(broker, "broker.password", "hunter2", "broker.connect_timeout", "300ms"))
	require.Equal(t, 7, r.code(t))
	// Where the refusal has come back by then, it is the refusal that is said.
	require.Regexp(t, `the broker was not reached within broker\.connect_timeout \(300ms\)|refused the login`, r.log.await(t, "ended by an error")["error"])
}

func TestReadinessOfParts(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var trouble error
	goOn := make(chan struct{})
	program := web(http.HandlerFunc(hello200), func(rt *service.Runtime) {
		rt.Ready("store", func() error {
			mu.Lock()
			defer mu.Unlock()
			return trouble
		})
		<-goOn
	})
	r := start(t, program, at(nowhere))
	require.Eventually(t, func() bool {
		status, body := r.get(t, "/readyz")
		return status == 503 && body == "starting: waiting for the program's Setup\n"
	}, 2*time.Minute, 10*time.Millisecond)
	status, body := r.get(t, "/readyz/http")
	require.Equal(t, 503, status)
	require.Equal(t, "starting: waiting for the program's Setup\n", body)
	status, _ = r.get(t, "/readyz/nothing")
	require.Equal(t, 404, status)
	close(goOn)
	require.Eventually(t, func() bool {
		status, _ := r.get(t, "/readyz")
		return status == 200
	}, 2*time.Minute, 10*time.Millisecond)

	mu.Lock()
	trouble = errors.New("disk full")
	mu.Unlock()
	status, body = r.get(t, "/readyz")
	require.Equal(t, 503, status)
	require.True(t, strings.HasPrefix(body, "store: disk full\nhttp: ready\ngrpc: ready\nbroker: "), body)
	status, _ = r.get(t, "/readyz/http")
	require.Equal(t, 200, status)

	healthcheck := func(part string) (code int, text string) {
		var out, errs log
		address, _ := r.log.await(t, "health")["address"].(string)
		code = program.Run(t.Context(), []string{"healthcheck", "--health-address", address, "--part", part}, &out, &errs)
		return code, out.String() + errs.String()
	}
	code, text := healthcheck("http")
	require.Equal(t, 0, code)
	require.Equal(t, "ready\n", text)
	code, text = healthcheck("broker")
	require.Equal(t, 1, code)
	require.Contains(t, text, "not ready:\nthe connection for publishing is connecting since ")
	code, text = healthcheck("amqp")
	require.Equal(t, 1, code)
	require.Contains(t, text, `the program has no part "amqp"`)
	code, text = healthcheck("")
	require.Equal(t, 1, code)
	require.Contains(t, text, "store: disk full")
	require.Equal(t, 0, r.end(t))
}

// What is being handled when shutdown begins is answered, over connections that were open; new ones are refused. What
// it sends is handled too: the worker drains after the servers.
func TestServersDrainFirst(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	entered, finish := make(chan struct{}), make(chan struct{})
	var rt *service.Runtime
	program := service.Program{Service: units, Setup: func(_ context.Context, given *service.Runtime) error {
		rt = given
		handlers(rt)
		rt.Close("store", func() error { note("store"); return nil })
		rt.Go("beside", func(ctx context.Context) error { <-ctx.Done(); note("beside"); return nil })
		rt.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/" {
				return
			}
			close(entered)
			<-finish
			answer, err := ask.Call(r.Context(), rt.Client, unit{1}) // by this program's own worker
			note("http")
			fmt.Fprint(w, answer.N, err)
		}))
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, slowHealth{rt: rt, note: note, finish: finish})
		rt.ServeGRPC(server)
		return nil
	}}
	r := start(t, program, at(leverettest.Broker(t)))
	r.log.await(t, "ready")
	address := r.address(t, "http")
	idle := dialHTTP(t, address)
	idle.ask(t, "/") // from now on it is kept alive
	busy := dialHTTP(t, address)
	busy.send(t, "/slow")
	<-entered
	conn, err := grpc.NewClient(r.address(t, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	checked := make(chan error, 1)
	go func() {
		_, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		checked <- err
	}()
	r.log.await(t, "checking")

	r.stop()
	r.log.await(t, "draining")
	status, body := r.get(t, "/readyz/http")
	require.Equal(t, 503, status)
	require.Equal(t, "draining\n", body)
	for _, name := range []string{"http", "grpc"} {
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", r.address(t, name))
			if err == nil {
				_ = c.Close()
			}
			return err != nil
		}, 2*time.Minute, 10*time.Millisecond, name)
	}
	_, err = idle.reader.ReadByte()
	require.ErrorIs(t, err, io.EOF, "an idle connection is closed")
	close(finish)
	response, text := busy.receive(t)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, "1 <nil>", text)
	require.True(t, response.Close, "the connection is not used again")
	require.NoError(t, <-checked)
	require.Equal(t, 0, r.code(t))
	mu.Lock()
	defer mu.Unlock()
	require.ElementsMatch(t, []string{"http", "grpc"}, order[:2])
	require.Equal(t, []string{"beside", "store"}, order[2:])
	require.NotContains(t, r.log.String(), "cut off")
}

// slowHealth is a health service that takes its time.
type slowHealth struct {
	grpc_health_v1.UnimplementedHealthServer

	rt     *service.Runtime
	note   func(string)
	finish chan struct{}
}

func (s slowHealth) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	s.rt.Logger.InfoContext(ctx, "checking")
	<-s.finish
	_, err := ask.Call(ctx, s.rt.Client, unit{1})
	s.note("grpc")
	return &grpc_health_v1.HealthCheckResponse{}, err
}

// rawHTTP is one connection to an HTTP server.
type rawHTTP struct {
	net.Conn

	reader *bufio.Reader
}

func dialHTTP(t *testing.T, address string) rawHTTP {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return rawHTTP{conn, bufio.NewReader(conn)}
}

func (c rawHTTP) send(t *testing.T, path string) {
	t.Helper()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path)
	require.NoError(t, err)
}

func (c rawHTTP) receive(t *testing.T) (response *http.Response, body string) {
	t.Helper()
	response, err := http.ReadResponse(c.reader, nil)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(text)
}

func (c rawHTTP) ask(t *testing.T, path string) {
	t.Helper()
	c.send(t, path)
	response, _ := c.receive(t)
	require.Equal(t, 200, response.StatusCode)
}

// What does not finish within the drain time is cut off: contexts end, and the program does.
func TestServersThatDoNotDrain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stuck bool
		after string // after which a handler counts as stuck
		code  int
		log   string
	}{
		"handlers that notice": {false, "2m", 0, "not drained in time; what was running was cut off"},
		"a stuck handler":      {true, "50ms", 1, "1 handlers did not return within 50ms after their contexts had ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered, release, noticed := make(chan struct{}), make(chan struct{}), make(chan struct{})
			r := start(t, web(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(entered)
				<-r.Context().Done()
				close(noticed)
				if c.stuck {
					<-release
				}
			})), at(nowhere, "worker.drain_timeout", "50ms", "worker.stuck_after", c.after,
				"broker.declare", "false")) // so that nothing else has to end within the drain time
			conn := dialHTTP(t, r.address(t, "http"))
			conn.send(t, "/")
			<-entered
			watching, err := grpc.NewClient(r.address(t, "grpc"), grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer watching.Close()
			stream, err := grpc_health_v1.NewHealthClient(watching).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err)
			_, err = stream.Recv()
			require.NoError(t, err)

			require.Equal(t, c.code, r.end(t))
			<-noticed
			close(release)
			require.Contains(t, r.log.String(), c.log)
			_, err = conn.reader.ReadByte()
			require.Error(t, err)
			_, err = stream.Recv()
			require.Error(t, err)
		})
	}
}

// During health.drain_delay it goes on serving, and asks clients to connect elsewhere. A failure ends the wait.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	fail := make(chan struct{})
	r := start(t, web(http.HandlerFunc(hello200), func(rt *service.Runtime) {
		rt.Go("outbox", func(context.Context) error { <-fail; return errors.New("disk full") })
	}), at(nowhere, "health.drain_delay", "10m"))
	kept := dialHTTP(t, r.address(t, "http"))
	for _, leaving := range []bool{false, true} {
		if leaving {
			r.stop()
			r.log.await(t, "draining")
			status, _ := r.get(t, "/readyz")
			require.Equal(t, 503, status)
		}
		kept.send(t, "/")
		answer, body := kept.receive(t)
		require.Equal(t, "hello", body)
		require.Equal(t, leaving, answer.Close)
	}
	close(fail)
	require.Equal(t, 1, r.code(t))
}

func TestSlowClientsAreCut(t *testing.T) {
	t.Parallel()
	program := web(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestTimeout)
		}
	}))
	r := start(t, program, at(nowhere, "http.read_header_timeout", "1s"))
	header := dialHTTP(t, r.address(t, "http"))
	_, err := io.WriteString(header, "GET / HTTP/1.1\r\nHost: x\r\nX-Never-Fin")
	require.NoError(t, err)
	_, err = io.ReadAll(header.reader) // the end, or a reset where it was cut before this end wrote
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	silent := dialHTTP(t, r.address(t, "http"))
	_, err = io.ReadAll(silent.reader)
	require.NoError(t, err)
	patient := start(t, program, at(nowhere, "http.read_header_timeout", "10m", "http.read_timeout", "1500ms"))
	body := dialHTTP(t, patient.address(t, "http"))
	_, err = io.WriteString(body, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
	require.NoError(t, err)
	response, _ := body.receive(t)
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.Equal(t, 0, patient.end(t))
	large := dialHTTP(t, r.address(t, "http"))
	_, _ = io.WriteString(large, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 80<<10)+"\r\n\r\n")
	answer, _ := io.ReadAll(large.reader) // a status, or a connection that was cut while this end was writing
	require.NotContains(t, string(answer), "200 OK")
	require.Equal(t, 0, r.end(t))
}

// Clients that hold every connection do not keep the orchestrator from asking; a further client is served when one of
// them has gone.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	r := start(t, web(http.HandlerFunc(hello200)), at(nowhere, "http.max_connections", "300", "http.read_header_timeout", "10m"))
	address := r.address(t, "http")
	idle := make([]rawHTTP, 300)
	for i := range idle {
		idle[i] = dialHTTP(t, address)
		idle[i].ask(t, "/")
	}
	further := dialHTTP(t, address)
	further.send(t, "/")
	require.Eventually(t, func() bool {
		status, _ := r.get(t, "/readyz/http")
		return status == 200
	}, 2*time.Minute, 10*time.Millisecond)
	require.NoError(t, further.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := further.reader.Peek(1)
	require.ErrorContains(t, err, "timeout", "nobody serves it")
	require.NoError(t, further.SetReadDeadline(time.Now().Add(time.Minute)))
	require.NoError(t, idle[0].Close())
	response, _ := further.receive(t)
	require.Equal(t, 200, response.StatusCode)
	require.Equal(t, 0, r.end(t))
}

func TestHTTP2WithoutTLSAndPanics(t *testing.T) {
	t.Parallel()
	var mux http.ServeMux
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("ouch") })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })
	r := start(t, web(&mux), at(nowhere))
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport}
	response, err := client.Get("http://" + r.address(t, "http") + "/")
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, "HTTP/2.0", string(text))
	_, err = client.Get("http://" + r.address(t, "http") + "/panic")
	require.Error(t, err)
	panicked := r.log.await(t, "an HTTP handler panicked")
	require.Equal(t, "panic: ouch", panicked["error"])
	require.Contains(t, panicked["stack"], "server_test.go")
	require.Equal(t, 0, r.end(t)) // with that connection open
}

func TestWrongServers(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = taken.Close() })
	serves := leveret.NewService("web")
	only := service.Program{Service: serves, Setup: func(_ context.Context, rt *service.Runtime) error {
		rt.ServeHTTP(http.NotFoundHandler())
		return nil
	}}
	twice := service.Program{Service: serves, Setup: func(_ context.Context, rt *service.Runtime) error {
		rt.ServeHTTP(http.NotFoundHandler())
		rt.ServeHTTP(http.NotFoundHandler())
		rt.ServeGRPC(grpc.NewServer())
		rt.ServeGRPC(grpc.NewServer())
		return nil
	}}
	broker := leverettest.Broker(t)
	for name, c := range map[string]struct {
		program  service.Program
		settings map[string]string
		code     int
		want     string
	}{
		"off": {only, map[string]string{"broker.url": broker}, 2, "does nothing else than serve over http, and http.address is off"},
		"taken": {
			only, at(nowhere, "http.address", taken.Addr().String()), 2,
			"http.address: listen tcp " + taken.Addr().String() + ": bind: address already in use",
		},
		"twice":       {twice, at(nowhere), 1, "Setup called ServeHTTP twice; use an http.ServeMux\\nSetup called ServeGRPC twice"},
		"not a file":  {only, at(nowhere, "tls.ca_file", "/nowhere.pem"), 2, "tls.ca_file: open /nowhere.pem"},
		"not a pair":  {only, at(nowhere, "tls.cert_file", "/c.pem", "tls.key_file", "/k.pem", "http.tls", "server", "grpc.tls", "off"), 2, "tls.cert_file and tls.key_file: open /c.pem"},
		"not a login": {only, at("amqp://127.0.0.1/?heartbeat=x"), 2, "section broker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.program, c.settings)
			require.Equal(t, c.code, r.code(t))
			require.Contains(t, r.log.String(), c.want)
		})
	}

	r := start(t, only, at(nowhere)) // and grpc.address for nothing
	r.log.await(t, "grpc.address is set, but the service serves nothing there")
	require.Eventually(t, func() bool {
		status, _ := r.get(t, "/readyz/http")
		return status == 200
	}, 2*time.Minute, 10*time.Millisecond)
	require.Equal(t, 0, r.end(t))
}
