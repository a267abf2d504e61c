package shopcli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/ledger"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/queues"
)

// gateway is who places the demo's orders.
var gateway = leveret.NewService("demo", leveret.Sends(queues.PlaceOrder))

func (d *demonstration) connect(ctx context.Context) (*leveret.Conn, *leveret.Client, error) {
	connecting, cancel := d.answering(ctx)
	defer cancel()
	conn, err := leveret.Connect(connecting, leveret.ConnConfig{
		URLs: []string{d.system.url}, Layout: d.system.layout, Name: "demo", Logger: d.app.Logger(),
	})
	if err != nil {
		return nil, nil, err
	}
	client, err := leveret.NewClient(conn, gateway, leveret.ClientConfig{})
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, client, nil
}

// send sends the orders, through one pipeline, and returns the ids of those that the broker has confirmed.
func (d *demonstration) send(ctx context.Context, client *leveret.Client, orders []placement) ([]string, error) {
	pipeline := client.Pipeline(nil)
	ids := make([]string, 0, len(orders))
	for _, o := range orders {
		m := leveret.NewMessage(ctx, queues.PlaceOrder, o.body, leveret.MessageID(o.id))
		sending, cancel := d.answering(ctx) // it waits for confirms of earlier ones
		err := pipeline.Write(sending, m)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("send the orders: %w", err)
		}
		ids = append(ids, o.id)
	}
	flushing, cancel := d.answering(ctx)
	defer cancel()
	if err := pipeline.Flush(flushing); err != nil {
		return nil, fmt.Errorf("send the orders: %w", err)
	}
	return ids, nil
}

var errNoAnswer = errors.New("the broker does not answer")

// answering bounds what waits for one answer of the broker's.
func (d *demonstration) answering(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d.patience, errNoAnswer)
}

// killAt is after how much of the orders the payment service is killed.
const killAt = 0.4

// await waits until every order has come to its end or is a dead letter, and kills the payment service on the way. That
// some have not in time is no error here: the ledger tells.
func (d *demonstration) await(ctx context.Context, conn *leveret.Conn, orders []placement) error {
	waiting, cancel := context.WithTimeoutCause(ctx, d.timeout, errTooSlow)
	defer cancel()
	bar := d.app.StartProgress("settled", len(orders))
	defer bar.End()
	letters := deadletter.New(conn)
	err := until(waiting, 50*time.Millisecond, func() (bool, error) {
		settled, err := d.settled(waiting, letters)
		if err != nil {
			return false, err
		}
		bar.Set(settled)
		if !d.crashed && float64(settled) >= killAt*float64(len(orders)) {
			d.crashed = true
			if err := d.crash(waiting, settled); err != nil {
				return false, err
			}
		}
		return settled >= len(orders), d.allRun()
	})
	if err == nil {
		// What follows from the orders' ends happens a little later: what was captured for a cancelled order is given back.
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
		d.app.Warn("the orders have not come to their end within %v", d.timeout)
		return nil
	}
	return err
}

var errTooSlow = errors.New("the time for the orders is over")

// crash kills the payment service and starts it again.
func (d *demonstration) crash(ctx context.Context, settled int) error {
	p := d.workers["payment"]
	p.kill()
	d.app.Note("killed paymentd (process %d) with SIGKILL when %d orders were settled; starting it again", p.cmd.Process.Pid, settled)
	return d.start(ctx, "payment")
}

// allRun returns an error where a service has ended unasked.
func (d *demonstration) allRun() error {
	for _, p := range d.workers {
		if !p.running() {
			return fmt.Errorf("%sd has ended: %w\n%s", p.name, reasonOf(p.err), lastLines(d.system.logFile(p.name)))
		}
	}
	return nil
}

// settled counts the orders that are decided, and those that are dead letters.
func (d *demonstration) settled(ctx context.Context, letters *deadletter.Store) (int, error) {
	decided, err := order.CountDecided(ctx, d.system.paths().Order)
	if err != nil {
		return 0, err
	}
	dead, err := letters.Count(ctx, "order.place")
	return decided + dead, err
}

// startLogged starts a service whose log goes to its file.
func startLogged(s *system, name string) (*process, error) {
	log, err := os.OpenFile(s.logFile(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := fmt.Fprintln(log, startMark); err != nil {
		return nil, err
	}
	return startProcess(s, name, log)
}

// startMark begins what one process has written into a log that several share.
const startMark = "--- started ---"

// awaitReady waits until a service says in its log that it is ready.
func awaitReady(ctx context.Context, s *system, p *process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it is not ready after a minute"))
	defer cancel()
	err := until(ctx, 20*time.Millisecond, func() (bool, error) {
		if ready, err := saidReady(s.logFile(p.name)); ready || err != nil {
			return ready, err
		}
		if !p.running() {
			return false, reasonOf(p.err)
		}
		return false, nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%sd does not start: %w\n%s", p.name, err, lastLines(s.logFile(p.name)))
	}
	return err
}

// reasonOf is why a process ended that should not have: it may have thought that all was well.
func reasonOf(err error) error {
	if err == nil {
		return errors.New("it ended with 0")
	}
	return err
}

// saidReady looks for the record of readiness behind the last start.
func saidReady(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	ready := false
	lines := bufio.NewReader(f)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return ready, nil
		}
		if err != nil {
			return false, err
		}
		var record struct {
			Msg string `json:"msg"`
		}
		switch {
		case strings.TrimSpace(string(text)) == startMark:
			ready = false
		case json.Unmarshal(text, &record) == nil && record.Msg == "ready":
			ready = true
		}
	}
}

// lastLines is the end of a log.
func lastLines(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// hostOf is a URL without its password.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// shownPassword is the password of a node that we made, which is everybody's; that of another is not shown.
func shownPassword(s *system) string {
	if s.broker.About().Dir == "" {
		return "as configured"
	}
	return s.broker.Password()
}

// notes is where the broker's start tells what it does.
func (d *demonstration) notes() io.Writer {
	if d.verbose {
		return d.app.IO.Err
	}
	return &fetchNotes{d.app.IO.Err}
}

// fetchNotes lets through only what takes a person's time and disk: what is fetched.
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
