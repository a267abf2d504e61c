package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
)

func TestDatabasePath(t *testing.T) {
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
		require.Equal(t, want, l.Config().DatabasePath("order"), url)
	}
	for url, want := range map[string]string{
		"postgres://u:hunter2@h/db": "PostgreSQL is not supported yet",
		"mysql://u:hunter2@h/db":    "kind of database is not supported",
		"sqlite:":                   "names no file",
		"sqlite:x.db?mode=ro":       "parameters",
	} {
		_, err := config.New().Load(nil, config.Options{Overrides: map[string]string{"database.url": url}})
		require.ErrorContains(t, err, want, url)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestDataDir(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("HOME", "/home/shop")
	require.Equal(t, "/home/shop/.local/share/leveret", config.Config{}.DataDir())
	t.Setenv("HOME", "")
	require.Equal(t, "data", config.Config{}.DataDir())
	require.Equal(t, "/x", config.Config{Data: config.Data{Dir: "/x"}}.DataDir())
}
