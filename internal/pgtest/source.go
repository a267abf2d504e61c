//go:build postgres

package pgtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// shared is the server of a test binary. It ends with the process.
var (
	shared  = sync.OnceValues(func() (*Server, error) { return Start(context.Background()) })
	schemas atomic.Int64
)

// Shared returns the server that the tests of this process share.
func Shared(t testing.TB) *Server {
	t.Helper()
	s, err := shared()
	require.NoError(t, err)
	return s
}

// Source returns the source of a store of its own: a schema of the shared server, which has the name in its name.
func Source(t testing.TB, name string) string {
	t.Helper()
	return Shared(t).Source(name)
}

// Source returns the source of a store of its own: a schema, which has the name in its name.
func (s *Server) Source(name string) string {
	return s.URL("postgres") + fmt.Sprintf("&search_path=%s_%d", name, schemas.Add(1))
}
