package config

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Database holds the settings for a service's state.
type Database struct {
	URL string `config:"url"`
}

// DatabasePath returns the path of the SQLite file for a service's state: the one named by database.url, or else
// <service>.db in the data folder. It does not create the file.
func (c Config) DatabasePath(service string) string {
	if c.Database.URL == "" {
		return filepath.Join(c.DataDir(), service+".db")
	}
	path, _ := sqlitePath(c.Database.URL) // no error: Load has checked it
	return path
}

// DataDir returns the folder for files: data.dir, or else leveret in the user's data folder.
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

// sqlitePath accepts sqlite:path, sqlite:///absolute/path, file:path, or a plain path.
func sqlitePath(raw string) (string, error) {
	scheme, rest, found := strings.Cut(raw, ":")
	switch {
	case !found || strings.ContainsAny(scheme, `/\.`):
		rest = raw
	case scheme == "postgres" || scheme == "postgresql":
		return "", errors.New("PostgreSQL is not supported yet; use an SQLite file: sqlite:/path/to/file.db")
	case scheme != "sqlite" && scheme != "file":
		return "", errors.New("this kind of database is not supported; use an SQLite file: sqlite:/path/to/file.db")
	}
	if strings.ContainsAny(rest, "?#") {
		return "", errors.New("SQLite parameters are not supported; give only the file")
	}
	path, err := url.PathUnescape(strings.TrimPrefix(rest, "//"))
	if err != nil || path == "" {
		return "", errors.New("it names no file; write sqlite:/path/to/file.db")
	}
	return path, nil
}
