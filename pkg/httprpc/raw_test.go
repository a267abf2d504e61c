package httprpc_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// connect opens a connection on which a test writes what it likes.
func connect(t *testing.T, server *httptest.Server) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func readAnswer(t *testing.T, r *bufio.Reader) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body)
}

// What clients write that are not Go's, on one connection.
func TestRawRequests(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	conn := connect(t, s.server(t, httprpc.ServerConfig{Routes: s.routes()}))
	answers := bufio.NewReader(conn)
	body := `{"order_id":"7","lines":[]}`
	for _, c := range []struct {
		request string
		status  int
		want    string
	}{
		{fmt.Sprintf("POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body), 201, body},
		{"POST /orders HTTP/1.1\r\nhost: x\r\ncontent-type: APPLICATION/JSON\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 201, `{"order_id":"","lines":null}`},
		{"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n", 400, "the body is empty"},
		{"GET /orders/7 HTTP/1.1\r\nHost: x\r\nIdempotency-Key: caf\xc3\xa9\r\n\r\n", 200, `{"order_id":"7"}`},
		{"GET /orders/7 HTTP/1.1\r\nHost: x\r\nIdempotency-Key: caf\xe9\r\n\r\n", 400, "Idempotency-Key: it is not UTF-8"},
		{"GET /orders/7 HTTP/1.1\r\nHost: x\r\nLeveret-Headers: {{{\r\nBaggage: ;;\r\nTraceparent: 00-\r\n\r\n", 200, `{"order_id":"7"}`},
		{"DELETE /orders/7 HTTP/1.1\r\nHost: x\r\n\r\n", 204, ""},
		{"OPTIONS /orders/7 HTTP/1.1\r\nHost: x\r\n\r\n", 405, `"code":"unimplemented"`},
		{"BREW /orders/7 HTTP/1.1\r\nHost: x\r\n\r\n", 405, `"code":"unimplemented"`},
		{"GET http://x/orders/7 HTTP/1.1\r\nHost: x\r\n\r\n", 200, `{"order_id":"7"}`},
	} {
		_, err := io.WriteString(conn, c.request)
		require.NoError(t, err)
		response, got := readAnswer(t, answers)
		require.Equal(t, c.status, response.StatusCode, "%s\n%s", c.request, got)
		require.Contains(t, got, c.want)
	}
}

// A client whose body does not come in time gets an answer, and no handler runs.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	s.do = func(context.Context) error { panic("it was handled") }
	conn := connect(t, s.server(t, httprpc.ServerConfig{}))
	_, err := io.WriteString(conn, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nLeveret-Timeout-Ms: 50\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	response, body := readAnswer(t, answers)
	require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
	require.Contains(t, body, `"code":"deadline_exceeded"`)
	require.True(t, response.Close)
	_, err = answers.ReadByte()
	require.Error(t, err, "the connection is closed")
}

// A body that ends too early is no request.
func TestCutOffBody(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	s.do = func(context.Context) error { panic("it was handled") }
	conn := connect(t, s.server(t, httprpc.ServerConfig{}))
	_, err := io.WriteString(conn, "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nno chunk\r\n")
	require.NoError(t, err)
	response, body := readAnswer(t, bufio.NewReader(conn))
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	require.Contains(t, body, "cannot be read to its end")
}

// A client that hangs up ends the context of the handler, also when there was a body, and when the server's own time
// limit for reading has passed, which is not a client that hangs up.
func TestHangUpCancels(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"no body":  "GET /orders/7 HTTP/1.1\r\nHost: x\r\n\r\n",
		"a body":   "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"chunks":   "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"DELETE":   "DELETE /orders/7 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"observed": "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outcomes := make(chan leveret.Outcome, 1)
			s := newShop(leveret.HandlersConfig{OnOutcome: func(_ context.Context, _ *leveret.Message, o leveret.Outcome) { outcomes <- o }})
			began := make(chan struct{})
			s.do = func(ctx context.Context) error {
				close(began)
				<-ctx.Done()
				return context.Cause(ctx)
			}
			config := httprpc.ServerConfig{}
			if name == "observed" {
				config.TracerProvider, _ = tracing(t)
			}
			conn := connect(t, s.server(t, config))
			_, err := io.WriteString(conn, request)
			require.NoError(t, err)
			<-began
			require.NoError(t, conn.Close())
			o := <-outcomes
			require.ErrorIs(t, o.Err, context.Canceled)
			require.ErrorIs(t, o.SettleErr, context.Canceled)
		})
	}
}

// The time that a server has for reading a request does not end the handler's context.
func TestReadTimeoutIsForReading(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	var reached atomic.Bool
	s.do = func(ctx context.Context) error {
		reached.Store(true)
		timer := time.NewTimer(300 * time.Millisecond) // for as long as this, nothing must happen
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		}
	}
	h, err := httprpc.NewServer(s.handlers, httprpc.ServerConfig{})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(h)
	server.Config.ReadTimeout = 100 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		answer, err := client.Post(server.URL+"/orders", "application/json", strings.NewReader("{}"))
		if err == nil {
			require.NoError(t, answer.Body.Close())
		}
		if !reached.Load() {
			continue // the machine is busy: the request was not read in time
		}
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, answer.StatusCode)
		return
	}
}

// Names and values of any length get an answer.
func TestLongNames(t *testing.T) {
	t.Parallel()
	s := newShop(leveret.HandlersConfig{})
	server := s.server(t, httprpc.ServerConfig{Strict: true})
	a := ask(t, server, "GET /orders/7?"+strings.Repeat("%C3%A9", 1000)+"=1", "")
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	require.Less(t, len(a.body), 1000)
	a = ask(t, server, "POST /orders", `{"`+strings.Repeat("é", 10000)+`":1}`)
	require.Equal(t, http.StatusBadRequest, a.StatusCode)
	require.Less(t, len(a.body), 1000)
}
