//go:build postgres

package shopcli_test

import (
	"database/sql"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/pgtest"
)

// The demo keeps the stores in PostgreSQL where database.url says so. Its ledger balances, and it leaves no schema behind.
func TestDemoOnPostgres(t *testing.T) {
	t.Parallel()
	server, err := pgtest.Start(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	u, err := url.Parse(server.URL("postgres"))
	require.NoError(t, err)
	password, _ := u.User.Password()
	u.User = url.User(u.User.Username())
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600))

	c := command(t, "demo", "-n", "60", "-o", "json")
	c.onSharedNode(t)
	c.Env = append(c.Env, "LEVERET_DATABASE_URL="+u.String(), "LEVERET_DATABASE_PASSWORD_FILE="+file)
	require.NoError(t, c.Start())
	require.Equal(t, 0, c.exitCode(t), c.err.String())
	var result struct{ OK bool }
	require.NoError(t, json.Unmarshal([]byte(c.out.String()), &result))
	require.True(t, result.OK)
	require.Contains(t, c.err.String(), "the services keep their state in the schemas demo_")
	require.NotContains(t, c.err.String(), password)
	c.requireNoTrace(t)

	db, err := sql.Open("pgx", server.URL("postgres"))
	require.NoError(t, err)
	defer db.Close()
	var left, tables int
	require.NoError(t, db.QueryRowContext(t.Context(),
		"SELECT count(*) FILTER (WHERE nspname LIKE 'demo%') FROM pg_namespace").Scan(&left))
	require.Zero(t, left)
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables))
	require.Zero(t, tables)
}

// A schema that all services would share is refused.
func TestDemoWithASchema(t *testing.T) {
	t.Parallel()
	c := command(t, "demo")
	c.Env = append(c.Env, "LEVERET_DATABASE_URL=postgres://u@localhost/db?search_path=mine")
	require.NoError(t, c.Start())
	require.Equal(t, 2, c.exitCode(t))
	require.Contains(t, c.err.String(), "database.url has a search_path; leave it out")
}
