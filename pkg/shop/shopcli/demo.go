package shopcli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type demoOptions struct {
	orders  int
	keep    bool
	timeout time.Duration
	verbose bool
}

// How many orders there may be: some of each kind are needed.
const (
	fewestOrders = 30
	mostOrders   = 1_000_000
)

// Demo makes the command that shows the whole system at work, kills a worker in the middle, and proves the outcome.
func Demo(app *cli.App) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:     "demo",
		GroupID: "run",
		Short:   "See it work and prove it: orders under load, a worker killed in the middle, and the ledger",
		Long: `See it work and prove it.

Starts a private RabbitMQ (or uses the one that is configured, in a virtual host of its own) and the three services as
processes of their own, sends orders as commands, kills the payment service with SIGKILL in the middle of them and
starts it again. Some of the orders are out of stock, some are declined, some are malformed. When all of them have come
to their end, the services' own stores and the dead-letter queues are read, and the ledger is printed: what was sent,
what became of it, and what is lost, charged twice or reserved twice. Any of the last three, an order that did not end as
it had to or within --timeout, or a crash that could not be made ends the command with 1; a RabbitMQ that ends, with 7.
The stores and logs are kept then.`,
		Args:    cli.Arguments(0, 0),
		Example: fmt.Sprintf("  %[1]s demo\n  %[1]s demo -n 5000 -o json\n  %[1]s demo --keep", app.Name),
		RunE:    func(cmd *cobra.Command, _ []string) error { return demo(cmd.Context(), app, o) },
	}
	f := cmd.Flags()
	f.IntVarP(&o.orders, "orders", "n", 500, fmt.Sprintf("how many orders, %d to %d", fewestOrders, mostOrders))
	f.BoolVar(&o.keep, "keep", false, "leave everything running at the end, and say where the management UI is")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "how long the orders may take to come to their end")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say where the broker comes from, and what is fetched")
	return cmd
}

func demo(ctx context.Context, app *cli.App, o demoOptions) error {
	switch {
	case o.orders < fewestOrders || o.orders > mostOrders:
		return cli.Fail(cli.ExitUsage, "", "--orders is %d; it must be between %d and %d", o.orders, fewestOrders, mostOrders)
	case o.timeout <= 0:
		return cli.Fail(cli.ExitUsage, "", "--timeout is %v; it must be positive", o.timeout)
	}
	d := &demonstration{app: app, demoOptions: o, patience: time.Minute}
	result, err := d.run(ctx)
	if err != nil {
		return err
	}
	if err := result.print(app); err != nil {
		return err
	}
	if !result.OK {
		return cli.Fail(cli.ExitError, d.hint, "the ledger is not what it has to be")
	}
	if o.keep {
		d.tellKept()
	}
	return nil
}

// A demonstration is one run of the demo.
type demonstration struct {
	demoOptions

	app     *cli.App
	system  *system
	workers map[string]*process
	hint    string // where to look when it went wrong
	// patience bounds the wait for one answer of the broker's.
	patience time.Duration

	crashed, tooSlow bool // what came of it
}

// paymentDelay is how long the simulated card processor takes: long enough for a crash to hit something.
const paymentDelay = "25ms"

func (d *demonstration) run(ctx context.Context) (_ *result, err error) {
	d.app.Note("starting RabbitMQ …")
	node := devbroker.Config{Output: d.notes()}
	if d.system, err = openSystem(ctx, d.app, node, true, ""); err != nil {
		return nil, err
	}
	s := d.system
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
	case err != nil && ctx.Err() != nil: // interrupted: nothing to be looked at
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

// watched is the demo itself. It ends with errNodeEnded when the node does, whatever failed first for that reason.
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

// play starts the services, sends the orders, kills and restarts the payment service, waits for the end, and draws the
// ledger.
func (d *demonstration) play(ctx context.Context) (*result, error) {
	orders, err := placements(d.orders)
	if err != nil {
		return nil, err
	}
	if err := d.system.writeConfig(); err != nil {
		return nil, err
	}
	if err := d.start(ctx, "inventory", "order", "payment"); err != nil {
		return nil, err
	}
	conn, client, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = client.Close(ctx) // nothing is in flight, unless it went wrong
		_ = conn.Close(ctx)
	}()
	begun := time.Now()
	sent, err := d.send(ctx, client, orders)
	if err != nil {
		return nil, err
	}
	d.app.Note("sent %d orders, confirmed by the broker, in %s", len(sent), rounded(time.Since(begun)))
	if err := d.await(ctx, conn, orders); err != nil {
		return nil, err
	}
	// Drained, so that what the stores and the queues say now is the last word.
	d.app.Note("draining the services, and reading their stores …")
	left, err := d.drain(ctx, conn)
	if err != nil {
		return nil, err
	}
	return d.judge(ctx, conn, orders, sent, left)
}

// start starts services and returns when they are ready.
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

// drain ends the services, and returns how many messages are left in their queues. A queue that has nothing to hand out
// may have handed out something that is still being handled, and whose answer then comes to a service that has ended: as
// what was delivered again after the crash does, whose effects are long there. So whoever has something left is started
// again, some times at most, to do it.
func (d *demonstration) drain(ctx context.Context, conn *leveret.Conn) (left int, err error) {
	services := []string{"order", "inventory", "payment"}
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

// terminate ends services by SIGTERM, and returns when they have drained.
func (d *demonstration) terminate(ctx context.Context, services []string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, name := range services {
		if err := d.workers[name].stop(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends whatever runs, whatever happened.
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

// keepEvidence saves the stores and the logs from the end of the node.
func (d *demonstration) keepEvidence() {
	at, err := d.system.rescue()
	if err != nil {
		d.app.Warn("the stores and logs could not be kept: %v", err)
		return
	}
	d.hint = "look at the services' stores and logs, which are kept in " + at
}

// leave starts the services again and lets them and the node go on without this process.
func (d *demonstration) leave(ctx context.Context) error {
	d.system.outlive = true
	if err := d.start(ctx, "inventory", "order", "payment"); err != nil {
		return err
	}
	if d.system.broker.About().Dir == "" { // it ran before
		d.hint = "rm -r " + d.system.dir + ", which the services notice, and delete the virtual host " + d.system.vhost
		return nil
	}
	stop, err := d.system.broker.Detach()
	d.hint = stop
	return err
}

func (d *demonstration) tellKept() {
	s, name := d.system, invocation(d.app)
	d.app.Note(`
Everything goes on running:
  management UI   %s   user %s, password %s
  AMQP            %s
  try             %s --config %s queues
                  %s --config %s contracts show order.place --example | %s --config %s send order.place -f -
  to end it       %s`,
		s.broker.ManagementURL(), s.broker.Username(), shownPassword(s), hostOf(s.url),
		name, s.configFile(), name, s.configFile(), name, s.configFile(), d.hint)
}
