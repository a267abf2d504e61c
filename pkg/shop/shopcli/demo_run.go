package shopcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/queues"
)

// foreign is a program that sends orders directly to the queue, past the REST API.
var foreign = leveret.NewService("demo", leveret.Sends(queues.PlaceOrder))

func (d *demonstration) connect(ctx context.Context) (*leveret.Conn, *leveret.Client, error) {
	connecting, cancel := d.answering(ctx)
	defer cancel()
	secured, err := d.system.tls.ClientConfig()
	if err != nil {
		return nil, nil, err
	}
	conn, err := leveret.Connect(connecting, leveret.ConnConfig{
		URLs: []string{d.system.url}, TLS: secured, Layout: d.system.layout, Name: "demo", Logger: d.app.Logger(),
	})
	if err != nil {
		return nil, nil, err
	}
	client, err := leveret.NewClient(conn, foreign, leveret.ClientConfig{})
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, client, nil
}

var errNoAnswer = errors.New("the broker does not answer")

// answering limits the wait for a single answer of the broker.
func (d *demonstration) answering(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.patience, errNoAnswer)
}

// A kill is a service that is killed when this share of the orders is settled.
type kill struct {
	name string
	at   float64
	// before is how many orders may be placed before it.
	before int
	done   chan struct{} // closed when the service is killed
}

// hold holds orders back until the kills that come before them: else all may be settled while a service restarts, and
// the next one would be killed with nothing to do. As many as are due until half way to the next kill may be placed.
func hold(plan []kill, orders []placement) {
	all := expected(orders)
	for i := range plan {
		enough := (plan[i].at + 0.5/float64(len(plan)+1)) * float64(all)
		n := 0
		for plan[i].before < len(orders) && float64(n) < enough {
			if !orders[plan[i].before].refused {
				n++
			}
			plan[i].before++
		}
	}
}

// kills returns n kills, evenly spread: of payment, of order, and then of any service.
func kills(n int, services []string) []kill {
	all := make([]kill, n)
	names := []string{"payment", "order"}
	for i := range all {
		name := services[rand.IntN(len(services))]
		if i < len(names) {
			name = names[i]
		}
		all[i] = kill{name: name, at: float64(i+1) / float64(n+1), done: make(chan struct{})}
	}
	return all
}

// await waits until every order is finished or dead-lettered, and kills services on the way. A timeout is not an error
// here; it shows up in the ledger.
func (d *demonstration) await(ctx context.Context, conn *leveret.Conn, p *placing, expected int) error {
	waiting, cancel := context.WithTimeoutCause(ctx, d.timeout, errTooSlow)
	defer cancel()
	bar := d.app.StartProgress("settled", expected)
	defer bar.End()
	letters := deadletter.New(conn)
	err := until(waiting, 50*time.Millisecond, func() (bool, error) {
		settled, err := d.settled(waiting, letters)
		if err != nil {
			return false, err
		}
		bar.Set(settled)
		if n := len(d.killed); n < len(d.plan) && float64(settled) >= d.plan[n].at*float64(expected) {
			return false, d.crash(waiting, d.plan[n], settled, int(p.accepted.Load()))
		}
		select {
		case <-p.done:
			return p.err != nil || settled >= int(p.accepted.Load()), errors.Join(p.err, d.allRun())
		default:
			return false, d.allRun()
		}
	})
	if err == nil {
		// The consequences of a finished order follow a little later: the payment of a cancelled order is refunded.
		err = until(waiting, 50*time.Millisecond, func() (bool, error) {
			l, err := ledger.Read(waiting, d.system.paths(), nil)
			if err != nil || !l.OK() {
				return false, err
			}
			left, err := d.leftInQueues(waiting, conn)
			return left == 0, err
		})
	}
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		d.tooSlow = true
		d.app.Warn("the orders are not finished within %v", d.timeout)
		return nil
	}
	return err
}

var errTooSlow = errors.New("the time for the orders is over")

// crash kills a service and restarts it, when so many orders are settled of those that were accepted.
func (d *demonstration) crash(ctx context.Context, k kill, settled, accepted int) error {
	p := d.workers[k.name]
	p.kill()
	close(k.done)
	d.killed = append(d.killed, k.name)
	d.inFlight += max(accepted-settled, 0)
	d.app.Note("killed %sd (process %d) with SIGKILL after %d orders; restarting it", k.name, p.cmd.Process.Pid, settled)
	return d.start(ctx, k.name)
}

// allRun returns an error if a service has ended unexpectedly.
func (d *demonstration) allRun() error {
	for _, p := range d.workers {
		if !p.running() {
			return fmt.Errorf("%sd has ended: %w\n%s", p.name, reasonOf(p.err), lastLines(d.system.logFile(p.name)))
		}
	}
	return nil
}

// settled counts the orders that are finished or dead-lettered.
func (d *demonstration) settled(ctx context.Context, letters *deadletter.Store) (int, error) {
	decided, err := order.CountDecided(ctx, d.system.paths().Order)
	if err != nil {
		return 0, err
	}
	dead, err := letters.Count(ctx, letters.DeadLetters("order.place"))
	if errors.Is(err, deadletter.ErrNoQueue) {
		dead, err = 0, nil
	}
	return decided + dead, err
}

// hostOf returns a URL without user, password and query.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery = nil, ""
	return strings.TrimSuffix(u.String(), "/") // some clients take it for a virtual host without a name
}

// shownPassword returns the password that a node of ours made for itself, but not one that the user chose.
func shownPassword(s *system) string {
	if s.broker.About().Dir == "" || s.chosen {
		return "as configured"
	}
	return s.broker.Password()
}

// notes returns where devbroker prints its progress.
func (d *demonstration) notes() io.Writer {
	if d.verbose {
		return d.app.IO.Err
	}
	return &fetchNotes{d.app.IO.Err}
}

// fetchNotes passes on only the messages about downloads, which take time and disk space.
type fetchNotes struct{ out io.Writer }

func (n *fetchNotes) Write(p []byte) (int, error) {
	if strings.HasPrefix(string(p), "fetch") {
		return n.out.Write(p)
	}
	return len(p), nil
}

func rounded(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
