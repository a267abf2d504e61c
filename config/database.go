package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Database holds the settings for a service's state.
type Database struct {
	URL      string `config:"url"`
	Password string `config:"password"`

	passwordFile string // empty where the password is not in a file
}

// DatabaseSource returns where a service's state is: the path of a SQLite file, or the URL of a PostgreSQL database. By
// default it is the file <service>.db in the data folder. DatabaseSource creates nothing.
//
// The URL has the parameters that database.url lacks: search_path, the schema, which is named after the service;
// application_name, which the server shows for its connections; and password_file, if the password is in a file. If it
// is not, the URL contains the password: use [RedactURL] before showing it.
func (c Config) DatabaseSource(service, application string) string {
	switch {
	case c.Database.URL == "":
		return filepath.Join(c.DataDir(), service+".db")
	case !c.Database.OnServer():
		path, _ := sqlitePath(c.Database.URL) // no error: Load has checked it
		return path
	}
	u, err := url.Parse(c.Database.URL)
	if err != nil { // cannot happen: Load has checked it
		return ""
	}
	query := u.Query()
	for name, value := range map[string]string{"search_path": service, "application_name": application} {
		if query.Get(name) == "" && value != "" {
			query.Set(name, value)
		}
	}
	switch {
	case c.Database.passwordFile != "":
		query.Set("password_file", c.Database.passwordFile)
	case c.Database.Password != "":
		u.User = url.UserPassword(u.User.Username(), c.Database.Password)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// OnServer reports whether the state is in a PostgreSQL database.
func (d Database) OnServer() bool {
	scheme, _, _ := strings.Cut(d.URL, ":")
	return scheme == "postgres" || scheme == "postgresql"
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

// databaseURL checks database.url.
func databaseURL(value any) error {
	raw := value.(string) //nolint:forcetypeassert // of a key of type URL
	if (Database{URL: raw}).OnServer() {
		return postgresURL(raw)
	}
	_, err := sqlitePath(raw)
	return err
}

// postgresURL accepts postgres://user@host:port/database with libpq's parameters.
func postgresURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return errors.New("it is not a URL such as postgres://user@host:port/database")
	}
	const form = "; write postgres://user@host:port/database"
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil:
		return errors.New("its parameters are not name=value&name=value")
	case query.Has("password"), query.Has("sslpassword"):
		return errors.New("its parameters contain a password; use database.password_file or database.password")
	case u.Hostname() == "" && query.Get("host") == "":
		return fmt.Errorf("%q has no host%s", RedactURL(raw), form)
	case u.User.Username() == "":
		return fmt.Errorf("%q has no user%s", RedactURL(raw), form)
	case strings.Trim(u.Path, "/") == "" || strings.Count(u.Path, "/") > 1:
		return fmt.Errorf("%q does not name a database%s", RedactURL(raw), form)
	}
	return nil
}

// sqlitePath accepts sqlite:path, sqlite:///absolute/path, file:path, or a plain path.
func sqlitePath(raw string) (string, error) {
	scheme, rest, found := strings.Cut(raw, ":")
	switch {
	case !found || strings.ContainsAny(scheme, `/\.`):
		rest = raw
	case scheme != "sqlite" && scheme != "file":
		return "", errors.New("this kind of database is not supported; use a SQLite file, sqlite:/path/to/file.db, or PostgreSQL, postgres://user@host:port/database")
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
