//go:build !postgres

package shoptest

import (
	"path/filepath"
	"testing"
)

// Source returns the source of a new store, which the name distinguishes from others of the test: the path of a SQLite
// file or, with the build tag postgres, the URL of a schema.
func Source(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(t.TempDir(), name+".db")
}

// Settings returns settings with which a service's state is in a new store: none, since a file is in data.dir.
func Settings(t *testing.T, _ string) map[string]string {
	t.Helper()
	return nil
}

// refuse and accept are the statements of Refuse and Accept.
func refuse(condition string) []string {
	return []string{"CREATE TRIGGER refuse BEFORE INSERT ON leveret_outbox WHEN " + condition + " BEGIN SELECT RAISE(ABORT, 'refused'); END"}
}

func accept() []string { return []string{"DROP TRIGGER refuse"} }
