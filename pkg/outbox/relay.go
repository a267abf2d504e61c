package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A relay sends what is in the table, in one lease after another.
type relay struct {
	o         *Outbox
	service   string
	sender    leveret.Sender
	contracts map[string]leveret.Contract
}

// Relay sends stored messages through s, which is a [leveret.Client] of the service, until ctx ends; then it finishes what
// it is sending, for ten seconds at most, and returns nil. A message is deleted within a tenth of a second after s has taken
// responsibility for it: what a relay has sent last and not deleted when it is killed is sent once more, under the same ids.
// It waits for a database or a broker that is away. Any number of processes may run it at once, and share the work; in one
// Outbox it runs once. It fails if the tables are those of another service.
//
// Messages that have the same key are sent one after the other, in the order in which they were stored. A message whose error
// blames itself (InvalidArgument, DataLoss, OutOfRange, Unimplemented) is set aside until somebody decides, and those behind
// it in its key wait. So is one that is unroutable, or fails for an unknown reason, again and again while others of its contract
// are sent. Any other error is of the way, such as a queue that is full: then the messages of the contract wait, and one of them
// is tried again after a second and, by and by, a minute. A send that takes longer than half a minute is such an error too. Other
// messages are sent all the time. Those of a contract that the service does not declare wait for a relay of a version that does.
//
// If s has a method Ready() error, as a Client does, a relay whose sender is not ready leaves the work to others.
func (o *Outbox) Relay(ctx context.Context, service *leveret.Service, s leveret.Sender) error {
	if service == nil || s == nil {
		return leveret.Errorf(leveret.InvalidArgument, "a relay needs a service and a sender")
	}
	if !o.relaying.CompareAndSwap(false, true) {
		return leveret.Errorf(leveret.FailedPrecondition, "the outbox has a relay already")
	}
	defer o.relaying.Store(false)
	defer o.voice.Store(nil)
	r := &relay{o: o, service: service.Name(), sender: s, contracts: map[string]leveret.Contract{}}
	for _, role := range []leveret.Role{leveret.RoleSends, leveret.RolePublishes} {
		for _, c := range service.Contracts(role) {
			r.contracts[c.Spec().Name] = c
		}
	}
	said := ""
	for ctx.Err() == nil {
		err := o.belongsTo(ctx, service.Name())
		if errors.Is(err, leveret.FailedPrecondition) {
			return err
		}
		if err == nil {
			err = r.tenure(ctx, func() { said = "" })
		}
		if errors.Is(err, leveret.ErrClosed) {
			return err
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		now := err.Error()
		if now != said {
			o.config.Logger.WarnContext(ctx, "the outbox is not being sent", "error", err)
			said = now
		}
		o.voice.Store(&voice{troubles: func() []trouble { return []trouble{{Text: now}} }})
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	return nil
}

// belongsTo claims the tables for a service.
func (o *Outbox) belongsTo(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, statementWithin)
	defer cancel()
	_, err := o.config.DB.ExecContext(ctx, "INSERT INTO leveret_outbox_service (one, service) VALUES (1, $1) ON CONFLICT (one) DO NOTHING", service)
	if err != nil {
		return err
	}
	var owner string
	if err := o.config.DB.QueryRowContext(ctx, "SELECT service FROM leveret_outbox_service").Scan(&owner); err != nil {
		return err
	}
	if owner != service {
		return leveret.Errorf(leveret.FailedPrecondition, "the tables are the outbox of the service %q, not of %q: each needs a schema of its own", owner, service)
	}
	return nil
}

const (
	// finishWithin is how long messages that are being sent have when the relay ends.
	finishWithin = 10 * time.Second
	// statementWithin bounds a statement, so that a connection to a database that is gone is given up.
	statementWithin = 10 * time.Second
	// sendWithin bounds the sending of one message while there is a connection, and without.
	sendWithin = 30 * time.Second
)

// tenure is one lease from beginning to end.
func (r *relay) tenure(ctx context.Context, joined func()) error {
	l := newLease(r.o)
	if err := l.join(ctx); err != nil {
		return fmt.Errorf("begin a lease: %w", err)
	}
	joined()
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	d := newDesk(r, l, end)
	r.o.voice.Store(&voice{l.id, func() []trouble { return d.trouble(r.ready()) }})
	var beside sync.WaitGroup
	beating, stop := context.WithCancel(life)
	beside.Go(func() { d.beat(beating) })
	beside.Go(func() { d.promote(beating) })
	beside.Go(func() { r.o.survey(beating) })
	d.work(ctx, life)
	stop()
	beside.Wait()
	if err := l.leave(context.WithoutCancel(ctx)); err != nil {
		d.log.WarnContext(ctx, "others will wait for the lease of this relay to end", "error", err)
	}
	if err := context.Cause(life); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// beat keeps the lease, and sees to the relay's share of the slots.
func (d *desk) beat(ctx context.Context) {
	lapse := time.AfterFunc(d.lease.length*2/3, func() { notify(d.lapsed) })
	defer lapse.Stop()
	every := time.NewTicker(d.lease.tick())
	defer every.Stop()
	said := ""
	for {
		began := time.Now()
		unready := d.relay.ready()
		if unready != nil {
			d.lease.miss()
		} else {
			d.lease.reach()
		}
		err := d.lease.beat(ctx, d.trouble(unready))
		if errors.Is(err, errLost) {
			d.end(err)
			return
		}
		if err == nil {
			lapse.Reset(d.lease.length*2/3 - time.Since(began))
			var surplus []int
			if surplus, err = d.lease.share(ctx); err == nil {
				select {
				case d.surplus <- surplus:
				case <-ctx.Done():
				}
			}
		}
		if ctx.Err() != nil {
			return
		}
		now := ""
		if err != nil {
			now = err.Error()
		}
		if now != said && now != "" {
			d.log.WarnContext(ctx, "the outbox's relay cannot keep its lease; trying again", "error", err)
		}
		said = now
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// ready returns why the sender cannot send, as far as it says so.
func (r *relay) ready() error {
	if s, says := r.sender.(interface{ Ready() error }); says {
		return s.Ready()
	}
	return nil
}

// promote makes messages ready whose time has come.
func (d *desk) promote(ctx context.Context) {
	every := time.NewTicker(d.relay.o.config.Poll)
	defer every.Stop()
	for {
		more := true
		for more && d.lease.holds() && ctx.Err() == nil {
			var err error
			within, cancel := context.WithTimeout(ctx, statementWithin)
			more, err = d.lease.promote(within)
			cancel()
			if err != nil && ctx.Err() == nil {
				d.log.DebugContext(ctx, "look for messages of the outbox whose time has come", "error", err)
			}
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
	}
}

// notify wakes a goroutine that listens, or will.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// An outcome is what became of a message that was to be sent.
type outcome struct {
	what what
	err  error
}

type what int

const (
	failed   what = iota // and the next of its contract would fail, too
	done                 // somebody has taken responsibility for it
	gone                 // it is not there any more
	setAside             // it cannot be sent as it is
	lapsed               // it was not sent, or nobody knows, and nothing is wrong with its contract
	unknown              // another relay may have decided about it: what is known of its key is not true any more
	closed               // nothing can be sent any more
)

// send sends one message, and sets it aside if it is to blame.
func (r *relay) send(ctx context.Context, l *lease, of *row) (o outcome) {
	defer func() {
		if v := recover(); v != nil { // of the sender's middleware, or of the contract
			o = r.setAside(ctx, l, of, leveret.Errorf(leveret.Internal, "panic: %v", v))
		}
	}()
	switch {
	case of.gone:
		return outcome{gone, nil}
	case of.changed:
		return outcome{unknown, nil}
	case !l.holds():
		return outcome{lapsed, nil}
	default:
		return r.sendAs(ctx, l, of, r.contracts[of.contract])
	}
}

func (r *relay) sendAs(ctx context.Context, l *lease, of *row, contract leveret.Contract) outcome {
	within, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	began := time.Now()
	m, err := of.message(contract)
	if err == nil {
		err = r.sender.Send(within, m)
	}
	switch {
	case err == nil:
		return outcome{done, nil}
	case ctx.Err() != nil:
		return outcome{lapsed, err}
	case errors.Is(err, leveret.ErrClosed):
		return outcome{closed, err}
	case errors.Is(err, leveret.ErrNotConnected), errors.Is(err, leveret.ErrBlocked):
		contexts.Sleep(ctx, time.Second-time.Since(began)) // else the sender has waited already
		return outcome{lapsed, err}
	case blamesItself(err), mayBlameItself(err) && of.failures >= maxFailures:
		return r.setAside(ctx, l, of, err)
	default:
		return outcome{failed, err}
	}
}

func (r *relay) setAside(ctx context.Context, l *lease, of *row, why error) outcome {
	r.o.config.Logger.ErrorContext(ctx, "a message in the outbox cannot be sent; it is set aside, and what is behind it in its key waits",
		"contract", of.contract, "message_id", of.id, "key", of.key, "error", why)
	writing, cancel := context.WithTimeout(ctx, statementWithin)
	defer cancel()
	switch err := l.setAside(writing, of, why); {
	case errors.Is(err, errNothing):
		return outcome{unknown, nil}
	case err != nil:
		return outcome{failed, err} // it is sent once more
	default:
		return outcome{setAside, why}
	}
}

// maxFailures is how often a message may be the first of its contract that cannot be sent, while others can, for a reason that may
// be its own: then it is.
const maxFailures = 5

// mayBlameItself reports whether an error can be of one message alone, such as a routing key to which no queue is bound. A queue
// that is full or a right that is missing is not: other messages meet it as well.
func mayBlameItself(err error) bool {
	switch leveret.CodeOf(err) {
	case leveret.ResourceExhausted, leveret.PermissionDenied, leveret.Unauthenticated, leveret.DeadlineExceeded, leveret.Canceled:
		return false
	case leveret.Unavailable:
		return errors.Is(err, leveret.ErrUnroutable)
	default:
		return true
	}
}

// blamesItself reports whether an error is of the message itself, so that trying again would not help.
func blamesItself(err error) bool {
	switch leveret.CodeOf(err) {
	case leveret.InvalidArgument, leveret.DataLoss, leveret.OutOfRange, leveret.Unimplemented:
		return true
	default:
		return false
	}
}

// pause is how long the messages of a contract wait after some failures in a row.
func pause(failures int) time.Duration {
	return min(time.Second<<min(max(failures-1, 0), 6), time.Minute)
}
