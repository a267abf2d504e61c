package programs_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
)

// process is a program in a process of its own.
type process struct {
	cmd *exec.Cmd
	ready
	log *output
}

// startGateway starts the gateway alone, with the given settings: nothing that it needs for an answer is there.
func startGateway(t *testing.T, settings ...string) *process {
	t.Helper()
	p := &process{log: newOutput()}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), append([]string{
		asProgram + "=gateway", "LEVERET_BROKER_URL=" + leverettest.Broker(t), "LEVERET_DATA_DIR=" + t.TempDir(),
		"LEVERET_HEALTH_ADDRESS=127.0.0.1:0", "LEVERET_HTTP_ADDRESS=127.0.0.1:0", "LEVERET_LOG_FORMAT=json",
	}, settings...)...)
	p.cmd.Stderr = p.log
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
	p.ready = p.log.await(t.Context(), t)
	return p
}

// memory returns how much of the process is in memory, where the system says so.
func (p *process) memory() string {
	status, _ := os.ReadFile(filepath.Join("/proc", fmt.Sprint(p.cmd.Process.Pid), "status"))
	for line := range strings.Lines(string(status)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(size)
		}
	}
	return "unknown"
}

// requireHealthy fails unless the process answers at its health address, whatever is going on at the other.
func (p *process) requireHealthy(t *testing.T, client *http.Client) {
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		answer, err := client.Get("http://" + p.Health + path)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, 200, answer.StatusCode, path)
	}
}

// dial opens connections, and sends the same text on each.
func (p *process) dial(t *testing.T, n int, text string) (conns []net.Conn) {
	t.Helper()
	for range n {
		conn, err := net.Dial("tcp", p.HTTP)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, _ = io.WriteString(conn, text) // a connection may be closed by now
		conns = append(conns, conn)
	}
	return conns
}

// Clients who send nothing, or only half of a request, or too much, cost a connection for a while, and no more: others
// are served, and the process stays healthy and small.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	p := startGateway(t, "LEVERET_HTTP_MAX_CONNECTIONS=500", "LEVERET_HTTP_READ_HEADER_TIMEOUT=500ms", "LEVERET_HTTP_READ_TIMEOUT=700ms",
		"LEVERET_HTTP_MAX_HEADER_BYTES=16384", "LEVERET_GATEWAY_CLIENT_REQUESTS=500", "LEVERET_GATEWAY_CLIENT_ATTEMPTS=10000")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	served := func() {
		t.Helper()
		var answer *http.Response
		require.Eventually(t, func() (ok bool) { // on a busy machine, this client may be too slow as well
			var err error
			answer, err = client.Get("http://" + p.HTTP + "/openapi.json")
			return err == nil
		}, time.Minute, 10*time.Millisecond)
		defer answer.Body.Close()
		require.Equal(t, 200, answer.StatusCode)
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&struct{}{}))
	}
	served()
	p.requireHealthy(t, client)
	before := p.memory()
	const head = "POST /log-in HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n"
	for _, tc := range []struct {
		name   string
		n      int
		sent   string
		status int // of the answer; 0 for none
	}{
		{"silent", 2000, "", 0},
		{"half a header", 600, head, 0},
		{"half a body", 600, head + "Content-Length: 100\r\n\r\n{", 408},
		{"half a chunk", 600, head + "Transfer-Encoding: chunked\r\n\r\n64\r\n{", 408},
		{"a large header", 600, head + "X: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", 431},
		{"a large body", 600, head + "Content-Length: 1000000000\r\n\r\n" + strings.Repeat(" ", 64<<10), 413},
		{"h2c, silent", 600, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0},
	} {
		conns := p.dial(t, tc.n, tc.sent)
		p.requireHealthy(t, client)
		if tc.status > 0 { // the first that was read in time
			status := 0
			for i := 0; status == 0 && i < len(conns); i++ {
				if answer, err := http.ReadResponse(bufio.NewReader(conns[i]), nil); err == nil {
					status = answer.StatusCode
				}
			}
			require.Equal(t, tc.status, status, tc.name)
		}
		if tc.name == "h2c, silent" {
			for _, conn := range conns {
				_ = conn.Close()
			}
		}
		served()
		p.requireHealthy(t, client)
		t.Logf("%d × %s: resident memory %s, at first %s", tc.n, tc.name, p.memory(), before)
	}
	require.NotContains(t, p.log.String(), "panic")
}
