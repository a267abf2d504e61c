package grpcrpc_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
)

// calledInAProcess is the address to call, in the process that the test starts: a process reads its proxies once.
const calledInAProcess = "GRPCRPC_TEST_CALL"

// A proxy would read what is not encrypted.
func TestPlainCallsUseNoProxy(t *testing.T) {
	t.Parallel()
	k := newKitchen()
	if address := os.Getenv(calledInAProcess); address != "" {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, reply, err := k.call(ctx, k.caller(t, address), question{"greet", 1})
		require.NoError(t, err)
		require.EqualValues(t, 2, reply.N)
		return
	}
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	// This machine, but not by an address that is exempt from proxies.
	address := strings.Replace(k.start(t, echo, grpcrpc.ServerConfig{}), "127.0.0.1", "0.0.0.0", 1)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPlainCallsUseNoProxy$")
	child.Env = append(os.Environ(), calledInAProcess+"="+address, "HTTPS_PROXY="+proxy.URL, "NO_PROXY=")
	out, err := child.CombinedOutput()
	require.Zero(t, asked.Load())
	require.NoError(t, err, "%s", out)
}
