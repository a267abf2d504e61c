package shopcli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

type devOptions struct{ data string }

// Dev returns the command that runs the whole system.
func Dev(app *cli.App) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: "run",
		Short:   "Run everything on this machine: RabbitMQ and all services, until Ctrl-C",
		Long: `Run everything on this machine, until Ctrl-C.

Starts a private RabbitMQ, on its usual ports if they are free, or uses the configured one, and runs all services in
separate processes, with mutual TLS between them. Once all are ready, it prints where the REST API is. The services' logs
go to standard output, each line prefixed with the service's name; the command's own messages go to standard error. A
service that crashes is restarted, and so is a RabbitMQ started by the command. Ctrl-C lets the services finish their work
and ends the broker; a second Ctrl-C ends everything at once. Nothing is kept unless --data is given, except in PostgreSQL:
if database.url names a database there, the services keep their state in it.

Only this machine can reach the ports, but all of its users can. The broker's password keeps them out: a random one, which
the command prints, or the one in LEVERET_BROKER_PASSWORD. It is also in the file that the printed commands name, which only
you can read.`,
		Args:    cli.Arguments(0, 0),
		Example: fmt.Sprintf("  %[1]s dev\n  %[1]s dev --data ./dev-data\n  %[1]s dev --broker-url amqp://localhost:5672", app.Name),
		RunE:    func(cmd *cobra.Command, _ []string) error { return dev(cmd.Context(), app, o) },
	}
	cmd.Flags().StringVar(&o.data, "data", "", "keep queues and stores in this `folder` for the next run")
	_ = cmd.MarkFlagDirname("data")
	cmd.AddCommand(devCerts(app))
	cli.RunsAlone(cmd)
	return cmd
}

func dev(ctx context.Context, app *cli.App, o devOptions) (err error) {
	node := devbroker.Config{DefaultPorts: true, Output: app.IO.Err}
	if o.data != "" {
		if o.data, err = filepath.Abs(o.data); err != nil {
			return err
		}
		node.Dir, node.KeepData = o.data, true
	}
	stores, err := configuredDatabase(app, false)
	if err != nil {
		return err
	}
	s, err := openSystem(ctx, app, node, false, o.data)
	if err != nil {
		return err
	}
	s.database = stores
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if configured(app) {
		if err := alone(ctx, app, s); err != nil {
			return err
		}
	}
	s.logFormat = "text"
	if v, ok := app.Config().Value("log.level"); ok && v.Origin.Source != config.FromDefault {
		s.logLevel = v.String()
	}
	for certain := false; ; certain = true {
		if err := s.writeConfig(); err != nil {
			return err
		}
		printDev(app, s)
		err := supervise(ctx, app, s)
		if !errors.Is(err, errRejected) || certain {
			return err
		}
		app.Warn("%v, perhaps because another program has one of its addresses by now; restarting all with free ones", err)
		if err := s.chooseAddresses(false); err != nil {
			return err
		}
	}
}

// alone fails if services of the shop consume from the broker already. Two systems would take each other's messages, and
// each would keep only a part of the orders in its own stores.
func alone(ctx context.Context, app *cli.App, s *system) error {
	conn, err := app.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, service := range s.services() {
		for _, q := range everyQueue(topology.Names{Layout: s.layout}) {
			if !strings.HasPrefix(q.Name, service+".") || strings.HasSuffix(q.Name, topology.DeadLetterSuffix) || isStream(q) {
				continue
			}
			state, err := conn.Rabbit().Inspect(ctx, q.Name)
			switch {
			case errors.Is(err, rabbit.ErrNotFound), errors.Is(err, rabbit.ErrRefused): // services say what they may not do
			case err != nil:
				return err
			case state.Consumers > 0:
				return cli.Fail(cli.ExitError, fmt.Sprintf("end it first; or see %s config show --origin, and start without "+
					"the setting that names this broker: dev then starts a RabbitMQ of its own", app.Name),
					"the shop runs on %s already: its %s consumes from %s. A second one would take its messages, and keep them "+
						"in other stores", hostOf(s.url), service, q.Name)
			}
		}
	}
	return nil
}

func printDev(app *cli.App, s *system) {
	app.Note(`
  management UI   %s   user %s, password %s
  AMQP            %s
  try, in another terminal:
  export %s=%s`, s.broker.ManagementURL(), s.broker.Username(), shownPassword(s), hostOf(s.url), config.EnvFile, shellWord(s.configFile()))
	app.Note(`  %[1]s contracts show order.place --example | %[1]s send order.place -f -
  %[1]s queues --watch
`, invocation(app))
	if !s.logsReady() {
		printREST(app, s, "once all services are ready")
	}
}

// printREST prints how to be a customer.
func printREST(app *cli.App, s *system, since string) {
	app.Note(`
  the REST API, %[1]s: %[2]s, described in %[2]s/openapi.json
  be a customer, in another terminal:
  curl -s %[2]s/users -H 'Content-Type: application/json' -d '{"email":"me@example.com","name":"Me","password":"correct horse"}'
  TOKEN=$(curl -s %[2]s/log-in -H 'Content-Type: application/json' -d '{"email":"me@example.com","password":"correct horse"}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -si %[2]s/orders -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \
    -d '{"card_token":"tok_visa","lines":[{"sku":"TEA-GREEN","quantity":2,"unit_price":{"amount":999,"currency":"EUR"}}]}'
`, since, s.gatewayURL())
}

// colours distinguish the services' lines.
var colours = []term.Paint{term.Green, term.Yellow, term.Bold}
