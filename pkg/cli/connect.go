package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// patience is how long a command waits for the broker before it says so.
const patience = 2 * time.Second

// waiting warns about a long wait for the broker.
type waiting struct {
	app   *App
	mu    sync.Mutex
	last  error
	ended bool
}

func (w *waiting) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
}

func (w *waiting) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
}

// warn says why the wait is long, unless it is over.
func (w *waiting) warn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
	case w.last == nil:
		w.app.Warn("still waiting for the broker")
	default:
		w.app.Warn("still trying to reach the broker: %v", w.last)
	}
}

// Connect connects to the configured broker, or fails after broker.connect_timeout. The caller closes the connection.
func (a *App) Connect(ctx context.Context) (*leveret.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, a.settings.connectTimeout)
	defer cancel()
	wait := &waiting{app: a}
	timer := time.AfterFunc(patience, wait.warn)
	defer timer.Stop()
	conn, err := leveret.Connect(dialing, leveret.ConnConfig{
		URLs:             a.settings.urls,
		TLS:              a.settings.tls,
		Access:           a.settings.access,
		Name:             a.serviceName(),
		Version:          a.Version,
		Namespace:        a.settings.names.Namespace,
		Layout:           a.settings.names.Layout,
		NoDeclare:        a.settings.noDeclare,
		RequestQueueType: a.settings.requestQueueType,
		Heartbeat:        a.settings.heartbeat,
		MaxBackoff:       a.settings.maxBackoff,
		Logger:           slog.New(declaring{a.Logger().Handler(), a}),
		OnFailure:        wait.note,
	})
	wait.end()
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil: // the interruption is the reason, not what failed before it
		return nil, ctx.Err()
	default:
		return nil, a.explain(err)
	}
}

// client connects, and makes a client for one contract, so that nothing else is declared.
func (a *App) client(ctx context.Context, c leveret.Contract) (*leveret.Client, func(), error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	client, err := a.clientOn(conn, c)
	if err != nil {
		a.close(ctx, conn)
		return nil, nil, err
	}
	return client, func() { a.close(ctx, conn, client.Close) }, nil
}

func (a *App) clientOn(conn *leveret.Conn, c leveret.Contract) (*leveret.Client, error) {
	role := map[leveret.Kind]func(...leveret.Contract) leveret.ServiceOption{
		leveret.KindCommand: leveret.Sends, leveret.KindEvent: leveret.Publishes, leveret.KindRequest: leveret.Calls,
	}[c.Spec().Kind]
	client, err := leveret.NewClient(conn, leveret.NewService(a.serviceName(), role(c)), leveret.ClientConfig{
		MaxInFlight: a.settings.maxInFlight, MaxBody: a.settings.maxBody, ReplyQueue: a.settings.replyQueue,
	})
	if err != nil {
		return nil, a.explain(err)
	}
	return client, nil
}

// close closes what was opened on conn, in this order, and then conn itself, even if ctx has ended.
func (a *App) close(ctx context.Context, conn *leveret.Conn, opened ...func(context.Context) error) {
	for _, end := range append(opened, conn.Close) {
		enough := 3 * time.Second
		if conn.Publishing().State().Phase == rabbit.Blocked { // the broker reads nothing, and would not answer
			enough = 100 * time.Millisecond
		}
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), enough)
		if err := end(closing); err != nil {
			a.Logger().Debug("close", "error", err)
		}
		cancel()
	}
}

// explain adds to an error that any command can meet what to do about it.
func (a *App) explain(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, leveret.ErrRefused):
		return Fail(ExitUnreachable, a.grant(err), "%w", err)
	case errors.Is(err, rabbit.ErrNotFound) && !a.undeclared.none(): // a binding to what this user may not declare
		return Fail(ExitNotFound, a.missing(""), "%w", err)
	case errors.Is(err, leveret.ErrNotConnected) && strings.Contains(err.Error(), "connection limit"):
		return Fail(ExitUnreachable, "close connections that nobody needs, or raise the limit (rabbitmqctl set_vhost_limits, set_user_limits)",
			"the broker takes no more connections: %w", err)
	case errors.Is(err, leveret.ErrNotConnected):
		return Fail(ExitUnreachable, fmt.Sprintf("check the address with %s config show --origin; --broker-url and LEVERET_BROKER_URL change it", a.Name),
			"the broker cannot be reached: %w", err)
	case errors.Is(err, leveret.ErrTooLarge):
		return Fail(exitOf(err), "send a reference to the data, or raise the limit: --client-max-body here, max_message_size in the broker", "%w", err)
	case errors.Is(err, rabbit.ErrAlarm):
		return Fail(exitOf(err), a.endAlarm(err), "%w", err)
	case errors.Is(err, leveret.ErrBlocked): // by too many outstanding confirms, or because there was no time at all
		return Fail(exitOf(err), "allow more time", "%w", err)
	default:
		return err
	}
}

// endAlarm says what to do about an alarm, and what becomes of a message that was on its way.
func (a *App) endAlarm(err error) string {
	next := fmt.Sprintf("free memory or disk on the broker: %s status and rabbitmqctl status say which", a.Name)
	if errors.Is(err, leveret.ErrUnconfirmed) {
		next += "; the message may still arrive when the alarm is over"
	}
	return next
}
