package config_test

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

func TestDatabaseSource(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/data")
	for url, want := range map[string]string{
		"":                     "/data/leveret/order.db",
		"orders.db":            "orders.db",
		"/var/orders.db":       "/var/orders.db",
		"./my:orders.db":       "./my:orders.db",
		"sqlite:orders.db":     "orders.db",
		"sqlite:/o%20o.db":     "/o o.db",
		"sqlite:///orders.db":  "/orders.db",
		"file:/var/orders.db":  "/var/orders.db",
		"sqlite://relative.db": "relative.db",
	} {
		l, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"database.url": url}})
		require.NoError(t, err, url)
		require.Equal(t, want, l.Config().DatabaseSource("order", "orderd/1"), url)
	}
	for url, want := range map[string]string{
		"postgres:///db":                     `has no host; write postgres://user@host:port/database`,
		"postgres://h/db":                    "has no user",
		"postgres://u:hunter2@h":             "does not name a database",
		"postgres://u:hunter2@h/":            "does not name a database",
		"postgres://u:hunter2@h/db/x":        "does not name a database",
		"postgres://u@h/db?password=hunter2": "its parameters contain a password; use database.password_file",
		"postgres://u@h/db?a;hunter2":        "name=value",
		"postgres://u:hunter2@h:99999/db":    "port out of range",
		"mysql://u:hunter2@h/db":             "kind of database is not supported",
		"sqlite:":                            "names no file",
		"sqlite:x.db?mode=ro":                "parameters",
	} {
		_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"database.url": url}})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestDatabaseOnServer(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("from a file\n"), 0o600))
	for _, tc := range []struct {
		settings map[string]string
		want     string
	}{
		{
			map[string]string{"database.url": "postgres://u@h/db"},
			"postgres://u@h/db?application_name=orderd%2F1&search_path=order",
		},
		{
			map[string]string{"database.url": "postgresql://u:old@h:5433/db?search_path=mine&application_name=a&sslmode=verify-full", "database.password": "n:w"},
			"postgresql://u:n%3Aw@h:5433/db?application_name=a&search_path=mine&sslmode=verify-full",
		},
		{
			map[string]string{"database.url": "postgres://u:old@/db?host=/run/postgresql", "database.password_file": file},
			"postgres://u:old@/db?application_name=orderd%2F1&host=%2Frun%2Fpostgresql&password_file=" + url.QueryEscape(file) + "&search_path=order",
		},
	} {
		l, err := config.New().Load(nil, config.Options{Overrides: tc.settings})
		require.NoError(t, err)
		require.Equal(t, tc.want, l.Config().DatabaseSource("order", "orderd/1"))
		for _, s := range l.Settings() {
			require.NotContains(t, s.Value, "old")
			require.NotContains(t, s.Value, "n:w")
		}
	}
}

// Others can see the values of flags.
func TestNoDatabasePasswordInAFlag(t *testing.T) {
	t.Parallel()
	s := config.New()
	_, err := s.Load(parse(t, s, "--database-url", "postgres://u:hunter2@h/db"), config.Options{})
	require.ErrorContains(t, err, "or only the password by LEVERET_DATABASE_PASSWORD or LEVERET_DATABASE_PASSWORD_FILE")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestDataDir(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "/home/shop")
	require.Equal(t, "/home/shop/.local/share/leveret", config.Config{}.DataDir())
	t.Setenv("HOME", "")
	require.Equal(t, "data", config.Config{}.DataDir())
	require.Equal(t, "/x", config.Config{Data: config.Data{Dir: "/x"}}.DataDir())
}
