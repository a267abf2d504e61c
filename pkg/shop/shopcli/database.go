package shopcli

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// A database is the PostgreSQL database in which services keep their state, each in a schema of its own.
type database struct {
	config config.Config
	prefix string // of the schemas' names; empty where they stay
}

// configuredDatabase returns the database that database.url of this process names; nil if it names none, or a file. If
// passing is true, its schemas have names of their own, and are dropped at the end.
func configuredDatabase(app *cli.App, passing bool) (*database, error) {
	d := &database{config: app.Config().Config()}
	if !d.config.Database.OnServer() {
		return nil, nil //nolint:nilnil // no database is no error here
	}
	if u, err := url.Parse(d.config.Database.URL); err == nil && u.Query().Has("search_path") {
		return nil, cli.Fail(cli.ExitUsage, "", "database.url has a search_path; leave it out, since each service has a schema of its own")
	}
	if passing {
		d.prefix = "demo_" + strings.ToLower(rand.Text()[:8]) + "_"
	}
	return d, nil
}

// source returns where a service keeps its state. It may contain the password.
func (d *database) source(service string) string {
	return d.config.DatabaseSource(d.prefix+service, "")
}

// drop removes the schemas of services, if they are not meant to stay.
func (d *database) drop(ctx context.Context, services []string) error {
	if d == nil || d.prefix == "" {
		return nil
	}
	var errs []error
	for _, name := range services {
		errs = append(errs, store.DropSchema(ctx, d.source(name)))
	}
	return errors.Join(errs...)
}

// shown says where the schemas are, in a form safe to show; empty where there are none.
func (d *database) shown() string {
	if d == nil {
		return ""
	}
	return "the schemas " + d.prefix + "* of " + config.RedactURL(d.config.Database.URL)
}
