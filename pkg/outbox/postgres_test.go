//go:build postgres

package outbox_test

import (
	"database/sql"
	"net/url"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/pgtest"
)

// newSource returns the source of a new database: a SQLite file or, with the build tag postgres, a schema.
func newSource(t testing.TB) string {
	t.Helper()
	source := pgtest.Source(t, "outbox")
	u, err := url.Parse(source)
	require.NoError(t, err)
	db, err := open(source)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE SCHEMA "+u.Query().Get("search_path"))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return source
}

func open(source string) (*sql.DB, error) {
	db, err := sql.Open("pgx", source)
	if err == nil {
		db.SetMaxOpenConns(8)
	}
	return db, err
}
