package shopcli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type demoOptions struct {
	orders    int
	kills     int
	transport string
	keep      bool
	timeout   time.Duration
	verbose   bool
}

// The permitted number of orders. Fewer would not include some of each kind.
const (
	fewestOrders = 30
	mostOrders   = 1_000_000
)

// mostKills is the permitted number of kills.
const mostKills = 1000

// Demo returns the command that runs the whole system, kills a worker in the middle, and proves the outcome.
func Demo(app *cli.App) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: "run",
		Short:   "See it work and prove it: orders under load, two services killed in the middle, and the ledger",
		Long: `See it work and prove it.

Starts a private RabbitMQ (or uses the configured one, in a separate virtual host) and all services, each in its own
process, with mutual TLS between them. The services keep their state in files or, if database.url is a PostgreSQL
database, in schemas of their own there, which are dropped at the end. Customers register, log in and place orders through the REST API. In the middle,
the payment service and then the order service are killed with SIGKILL and restarted. Some of the orders are out of stock,
some are declined, some are cancelled by their customers, and some are malformed. When all orders are finished, the demo
reads the services' own stores and the dead-letter queues, and prints the ledger: what was accepted, how it ended, and
whether anything was lost, charged twice or reserved twice.

The services call each other as they do by default: over HTTP, and user calls auth over gRPC. With --transport amqp, all
of them call each other by requests and replies over RabbitMQ.

Exit codes: 1 if anything was lost or doubled, if an order did not end as expected or within --timeout, or if the services
were not killed; 7 if RabbitMQ ended. In these cases, the stores and logs are kept.`,
		Args:    cli.Arguments(0, 0),
		Example: fmt.Sprintf("  %[1]s demo\n  %[1]s demo --transport amqp\n  %[1]s demo -n 5000 --kills 20\n  %[1]s demo --keep", app.Name),
		RunE:    func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), app, o) },
	}
	f := cmd.Flags()
	f.IntVarP(&o.orders, "orders", "n", 500, fmt.Sprintf("how many orders, %d to %d", fewestOrders, mostOrders))
	f.IntVar(&o.kills, "kills", 2, fmt.Sprintf("how many times a service is killed, 1 to %d: payment, order, and then any", mostKills))
	f.StringVar(&o.transport, "transport", transportDefault, "how the services call each other: default or amqp")
	_ = cmd.RegisterFlagCompletionFunc("transport", cobra.FixedCompletions([]string{transportDefault, transportAMQP}, cobra.ShellCompDirectiveNoFileComp))
	f.BoolVar(&o.keep, "keep", false, "leave everything running at the end, and print where the management UI is")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long the orders may take to finish")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print where the broker comes from, and what is fetched")
	return cmd
}

func demo(ctx context.Context, app *cli.App, o demoOptions) error {
	switch {
	case o.orders < fewestOrders || o.orders > mostOrders:
		return cli.Fail(cli.ExitUsage, "", "--orders is %d; it must be between %d and %d", o.orders, fewestOrders, mostOrders)
	case o.kills < 1 || o.kills > mostKills:
		return cli.Fail(cli.ExitUsage, "", "--kills is %d; it must be between 1 and %d", o.kills, mostKills)
	case o.transport != transportDefault && o.transport != transportAMQP:
		return cli.Fail(cli.ExitUsage, "", "--transport is %q; it must be default or amqp", o.transport)
	case o.timeout <= 0:
		return cli.Fail(cli.ExitUsage, "", "--timeout is %v; it must be positive", o.timeout)
	}
	d := &demonstration{app: app, demoOptions: o, patience: time.Minute, secret: rand.Text(), card: leveret.Secret("tok_" + strings.ToLower(rand.Text()))}
	result, err := d.run(ctx)
	if err != nil {
		return err
	}
	if err := result.print(app); err != nil {
		return err
	}
	if !result.OK {
		return cli.Fail(cli.ExitError, d.hint, "the ledger does not balance")
	}
	if o.keep {
		d.printKept()
	}
	return nil
}

// A demonstration is one run of the demo.
type demonstration struct {
	demoOptions

	app     *cli.App
	system  *system
	workers map[string]*process
	hint    string // what to do next, or where to look after a failure
	// patience limits the wait for a single answer of the broker.
	patience time.Duration

	shoppers []*shopper
	secret   string // the customers' password
	card     leveret.Secret
	plan     []kill
	killed   []string // the services that were killed, one after the other
	inFlight int      // the orders that were under way then
	tooSlow  bool
}

// How the services call each other.
const (
	transportDefault = "default"
	transportAMQP    = "amqp"
)

// paymentDelay is the delay of the simulated card processor. It is long enough for a crash to interrupt something.
const paymentDelay = "25ms"

func (d *demonstration) run(ctx context.Context) (_ *result, err error) {
	stores, err := configuredDatabase(d.app, true)
	if err != nil {
		return nil, err
	}
	d.app.Note("starting RabbitMQ …")
	node := devbroker.Config{Output: d.notes()}
	if d.system, err = openSystem(ctx, d.app, node, true, ""); err != nil {
		return nil, err
	}
	s := d.system
	s.database = stores
	if stores != nil {
		d.app.Note("the services keep their state in %s", stores.shown())
	}
	s.transport, d.plan = d.transport, kills(d.kills, s.services())
	s.extra["payment"] = []string{"LEVERET_PAYMENT_DELAY=" + paymentDelay}
	kept := false
	defer func() {
		if !kept {
			d.stop(ctx)
			if failed := s.close(ctx); err == nil && failed != nil {
				err = failed
			}
		}
	}()
	d.app.Note("RabbitMQ %s on %s; management UI %s (user %s, password %s)", s.broker.Version(), hostOf(s.url), s.broker.ManagementURL(),
		s.broker.Username(), shownPassword(s))
	result, err := d.watched(ctx)
	switch {
	case err != nil && ctx.Err() != nil: // interrupted, so there is nothing to look into
		return nil, err
	case errors.Is(err, errNodeEnded):
		d.keepEvidence()
		return nil, cli.Fail(cli.ExitUnreachable, d.hint, "%w", err)
	case err != nil:
		d.keepEvidence()
		return nil, fmt.Errorf("%w\n%s", err, d.hint)
	case !result.OK:
		d.keepEvidence()
		return result, nil
	}
	if d.keep {
		kept, err = true, d.leave(ctx)
	}
	return result, err
}

var errNodeEnded = errors.New("RabbitMQ has ended")

// watched plays the demo while watching the node. If the node ends, it returns errNodeEnded, whatever failed first
// because of that.
func (d *demonstration) watched(ctx context.Context) (*result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nodeEnded := false
	var watching sync.WaitGroup
	watching.Go(func() {
		nodeEnded = d.system.broker.AwaitEnd(ctx) == nil
		cancel()
	})
	r, err := d.play(ctx)
	cancel()
	watching.Wait()
	if err != nil && nodeEnded {
		err = errNodeEnded
	}
	return r, err
}

// play starts the services, has customers place orders, kills and restarts services, waits until all orders are finished,
// and draws up the ledger.
func (d *demonstration) play(ctx context.Context) (*result, error) {
	placing, cancel := context.WithCancel(ctx)
	defer cancel() // ends the placing if something else fails
	orders, err := placements(d.orders, d.card)
	if err != nil {
		return nil, err
	}
	hold(d.plan, orders)
	if err := d.system.writeConfig(); err != nil {
		return nil, err
	}
	if err := d.start(ctx, d.system.services()...); err != nil {
		return nil, err
	}
	conn, client, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = client.Close(ctx) // nothing is in flight, unless play has failed
		_ = conn.Close(ctx)
	}()
	if err := d.signUp(ctx); err != nil {
		return nil, err
	}
	d.app.Note("registered %d customers; they place %d orders at %s", customers, len(orders), d.system.gatewayURL())
	p := d.place(placing, client, orders)
	err = d.await(ctx, conn, p, expected(orders))
	if err != nil || d.tooSlow {
		cancel()
	}
	<-p.done
	if err != nil {
		return nil, err
	}
	var listed []string
	if !d.tooSlow { // or there may be orders whose ids nobody knows
		d.app.Note("all orders are settled")
		listed = d.checkLists(ctx, p)
	}
	// Drain first, so that the stores and queues are final when they are read.
	d.app.Note("draining the services, and reading their stores …")
	left, err := d.drain(ctx, conn)
	if err != nil {
		return nil, err
	}
	return d.judge(ctx, conn, p, left, listed)
}

// expected counts the orders that will be accepted.
func expected(orders []placement) (n int) {
	for _, o := range orders {
		if !o.refused {
			n++
		}
	}
	return n
}

// start starts services and waits until they are ready.
func (d *demonstration) start(ctx context.Context, names ...string) error {
	if d.workers == nil {
		d.workers = make(map[string]*process)
	}
	begun := time.Now()
	for _, name := range names {
		p, err := startLogged(d.system, name)
		if err != nil {
			return err
		}
		d.workers[name] = p
	}
	for _, name := range names {
		if err := awaitReady(ctx, d.system, d.workers[name]); err != nil {
			return err
		}
		d.app.Note("%sd is ready after %s (process %d)", name, rounded(time.Since(begun)), d.workers[name].cmd.Process.Pid)
	}
	return nil
}

// drain ends the services and returns how many messages are left in their queues. An empty queue may have delivered a
// message that is still being handled, a redelivery after the crash for example, and whose outcome is sent to a service
// that has ended by then. So drain restarts the services to handle what is left, a limited number of times.
func (d *demonstration) drain(ctx context.Context, conn *leveret.Conn) (left int, err error) {
	services := d.system.services()
	for round := 0; ; round++ {
		if err := d.terminate(ctx, services); err != nil {
			return 0, err
		}
		if left, err = d.leftInQueues(ctx, conn); err != nil || left == 0 || round == 5 {
			return left, err
		}
		if err := d.start(ctx, services...); err != nil {
			return 0, err
		}
		waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = until(waiting, 50*time.Millisecond, func() (bool, error) {
			left, err := d.leftInQueues(waiting, conn)
			return left == 0, err
		})
		cancel()
		if err != nil && waiting.Err() == nil {
			return 0, err
		}
	}
}

// terminate ends services with SIGTERM, all at once, and waits until they have drained.
func (d *demonstration) terminate(ctx context.Context, services []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	errs := make([]error, len(services))
	var all sync.WaitGroup
	for i, name := range services {
		all.Go(func() {
			// A process that has only just been started would die of the signal, instead of draining.
			_ = awaitReady(ctx, d.system, d.workers[name])
			errs[i] = d.workers[name].stop(ctx)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// stop ends all services that are still running.
func (d *demonstration) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, p := range d.workers {
		if p.running() {
			terminate(p.cmd.Process)
		}
	}
	for _, p := range d.workers {
		if p.running() {
			_ = p.stop(ctx)
		}
	}
}

// keepEvidence moves the stores and logs to where they survive the end of the node.
func (d *demonstration) keepEvidence() {
	at, err := d.system.rescue()
	if err != nil {
		d.app.Warn("the stores and logs could not be kept: %v", err)
		return
	}
	d.hint = "look at the services' stores and logs, kept in " + at
	if stores := d.system.database.shown(); stores != "" {
		d.hint += " and in " + stores
	}
}

// leave restarts the services and lets them and the node outlive this process.
func (d *demonstration) leave(ctx context.Context) error {
	d.system.outlive = true
	if err := d.start(ctx, d.system.services()...); err != nil {
		return err
	}
	if d.system.broker.About().Dir == "" { // a broker that was already running
		d.hint = "rm -r " + d.system.dir + ", which also ends the services, and delete the virtual host " + d.system.vhost
	} else {
		stop, err := d.system.broker.Detach()
		if err != nil {
			return err
		}
		d.hint = stop
	}
	if stores := d.system.database.shown(); stores != "" {
		d.hint += "; then drop " + stores
	}
	return nil
}

func (d *demonstration) printKept() {
	s, name := d.system, invocation(d.app)
	d.app.Note(`
Everything is still running:
  REST API        %s, described in %s/openapi.json
  management UI   %s   user %s, password %s
  AMQP            %s
  try             export %s=%s
                  %s queues
                  %s contracts show order.place --example | %s send order.place -f -
  to end it       %s`,
		s.gatewayURL(), s.gatewayURL(), s.broker.ManagementURL(), s.broker.Username(), shownPassword(s), hostOf(s.url),
		config.EnvFile, shellWord(s.configFile()), name, name, name, d.hint)
}
