package outbox

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const scope = "github.com/leveretmq/leveret/pkg/outbox"

// surveyEvery is how often a relay looks what waits in the outbox, and deletes ids from the inbox that are old.
const surveyEvery = 5 * time.Second

// survey reports what waits in the outbox, and keeps the inbox small, until ctx ends.
func (o *Outbox) survey(ctx context.Context) {
	registration, err := o.observe()
	if err != nil {
		o.config.Logger.ErrorContext(ctx, "the outbox has no metrics", "error", err)
	} else {
		defer func() { _ = registration.Unregister() }()
	}
	tick := time.NewTicker(surveyEvery)
	defer tick.Stop()
	defer o.last.Store(nil)
	for {
		within, cancel := context.WithTimeout(ctx, statementWithin)
		if s, err := o.look(within); err == nil {
			o.last.Store(s)
		} else if ctx.Err() == nil {
			o.config.Logger.DebugContext(ctx, "look at the outbox", "error", err)
		}
		cancel()
		o.prune(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// observe reports what the last look has found.
func (o *Outbox) observe() (metric.Registration, error) {
	m := o.config.MeterProvider.Meter(scope)
	messages, err1 := m.Int64ObservableGauge("leveret.outbox.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Messages in the outbox: those that are ready, up to 10,000; later; blocked, behind one that was set aside; and set aside."))
	blocked, err2 := m.Int64ObservableGauge("leveret.outbox.blocked_keys", metric.WithUnit("{key}"),
		metric.WithDescription("Keys whose messages wait behind one that was set aside."))
	lag, err3 := m.Float64ObservableGauge("leveret.outbox.lag", metric.WithUnit("s"),
		metric.WithDescription("How long the oldest message that is ready has been so; 0 where none is."))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return m.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		s, known := o.Last()
		if !known {
			return nil
		}
		for _, state := range []State{Ready, Later, Blocked, Aside} {
			to.ObserveInt64(messages, int64(s.Counts[state]), metric.WithAttributes(attribute.String("leveret.state", string(state))))
		}
		to.ObserveInt64(blocked, int64(s.BlockedKeys))
		to.ObserveFloat64(lag, s.Lag.Seconds())
		return nil
	}, messages, blocked, lag)
}

// chunk is how many ids are deleted at once.
const chunk = 1000

// prune deletes some ids from the inbox whose time is over. They are not needed any more, so an error does not matter.
func (o *Outbox) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statementWithin)
	defer cancel()
	_, err := o.config.DB.ExecContext(ctx, `DELETE FROM leveret_inbox WHERE (message_id, queue, contract) IN
		(SELECT message_id, queue, contract FROM leveret_inbox WHERE until < $1 ORDER BY until LIMIT $2)`, time.Now().UnixMicro(), chunk)
	if err != nil && ctx.Err() == nil {
		o.config.Logger.DebugContext(ctx, "delete old ids from the inbox", "error", err)
	}
}
