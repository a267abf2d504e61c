//go:build postgres

package shoptest

import (
	"testing"

	"github.com/leveretmq/leveret/internal/pgtest"
)

// Source returns the source of a new store, which the name distinguishes from others of the test: the path of a SQLite
// file or, with the build tag postgres, the URL of a schema.
func Source(t *testing.T, name string) string {
	t.Helper()
	return pgtest.Source(t, name)
}

// Settings returns settings with which a service's state is in a new store.
func Settings(t *testing.T, name string) map[string]string {
	t.Helper()
	return map[string]string{"database.url": pgtest.Source(t, name)}
}
