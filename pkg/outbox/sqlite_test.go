//go:build !postgres

package outbox_test

import (
	"database/sql"
	"path/filepath"
	"testing"
)

// newSource returns the source of a new database: a SQLite file or, with the build tag postgres, a schema.
func newSource(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "t.db")
}

func open(source string) (*sql.DB, error) {
	db, err := sql.Open("sqlite",
		"file:"+source+"?_txlock=immediate&_pragma=journal_mode(WAL)&_pragma=busy_timeout(60000)&_pragma=synchronous(NORMAL)")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}
