package config

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Database says where state is kept.
type Database struct {
	URL string `config:"url"`
}

// DatabasePath returns the SQLite file that a service keeps its state in: what database.url names, or <service>.db in the data
// folder. Nothing is created.
func (c Config) DatabasePath(service string) string {
	if c.Database.URL == "" {
		return filepath.Join(c.DataDir(), service+".db")
	}
	path, _ := sqlitePath(c.Database.URL) // Load has checked it
	return path
}

// DataDir returns the folder for files: data.dir, or the user's own folder for data.
func (c Config) DataDir() string {
	if c.Data.Dir != "" {
		return c.Data.Dir
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "leveret")
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "leveret")
	}
	return "data"
}

// sqlitePath takes sqlite:path, sqlite:///absolute/path, file:path, or a path.
func sqlitePath(raw string) (string, error) {
	scheme, rest, found := strings.Cut(raw, ":")
	switch {
	case !found || strings.ContainsAny(scheme, `/\.`):
		rest = raw
	case scheme == "postgres" || scheme == "postgresql":
		return "", errors.New("PostgreSQL is not supported yet; use an SQLite file: sqlite:/path/to/file.db")
	case scheme != "sqlite" && scheme != "file":
		return "", errors.New("it is no database that is supported; use an SQLite file: sqlite:/path/to/file.db")
	}
	if strings.ContainsAny(rest, "?#") {
		return "", errors.New("parameters for SQLite are not supported; give the file alone")
	}
	path, err := url.PathUnescape(strings.TrimPrefix(rest, "//"))
	if err != nil || path == "" {
		return "", errors.New("it names no file; write sqlite:/path/to/file.db")
	}
	return path, nil
}
