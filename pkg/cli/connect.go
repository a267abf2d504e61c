package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// patience is how long a command waits for the broker before it tells.
const patience = 2 * time.Second

// waiting is a wait for the broker.
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

// tell says why it takes so long, unless it has ended.
func (w *waiting) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
	case w.last == nil:
		w.app.Warn("the broker does not answer yet")
	default:
		w.app.Warn("the broker does not answer yet, and is tried again: %v", w.last)
	}
}

// Connect connects to the configured broker. It fails when that takes longer than broker.connect_timeout. Whoever called
// it closes the connection.
func (a *App) Connect(ctx context.Context) (*leveret.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, a.settings.connectTimeout)
	defer cancel()
	wait := &waiting{app: a}
	timer := time.AfterFunc(patience, wait.tell)
	defer timer.Stop()
	conn, err := leveret.Connect(dialing, leveret.ConnConfig{
		URLs:             a.settings.urls,
		TLS:              a.settings.tls,
		Name:             a.serviceName(),
		Version:          a.Version,
		Namespace:        a.settings.names.Namespace,
		Layout:           a.settings.names.Layout,
		NoDeclare:        a.settings.noDeclare,
		RequestQueueType: a.settings.requestQueueType,
		Heartbeat:        a.settings.heartbeat,
		MaxBackoff:       a.settings.maxBackoff,
		Logger:           a.Logger(),
		OnFailure:        wait.note,
	})
	wait.end()
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil: // what it met by then is nobody's fault
		return nil, ctx.Err()
	default:
		return nil, a.explain(err)
	}
}

// client connects, and makes a client that may use one contract: what is not used is not declared.
func (a *App) client(ctx context.Context, c leveret.Contract) (*leveret.Client, func(), error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	client, err := a.clientOn(conn, c)
	if err != nil {
		a.close(ctx, conn.Close)
		return nil, nil, err
	}
	return client, func() {
		a.close(ctx, client.Close)
		a.close(ctx, conn.Close)
	}, nil
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

// close closes something, though ctx may have ended.
func (a *App) close(ctx context.Context, closer func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if err := closer(ctx); err != nil {
		a.Logger().Debug("close", "error", err)
	}
}

// explain says what to do about an error that any command may meet.
func (a *App) explain(err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, leveret.ErrRefused):
		return Fail(ExitUnreachable, a.Name+" config show --origin", "%w", err)
	case errors.Is(err, leveret.ErrNotConnected):
		return Fail(ExitUnreachable, fmt.Sprintf("%s config show --origin, then --broker-url or LEVERET_BROKER_URL to name another broker", a.Name),
			"the broker cannot be reached: %w", err)
	case errors.Is(err, leveret.ErrTooLarge):
		return Fail(exitOf(err), "store it elsewhere and send where it is, or raise the limit: --client-max-body here, max_message_size in the broker", "%w", err)
	case errors.Is(err, leveret.ErrBlocked): // by an alarm, by what waits for its confirm, or for want of any time at all
		return Fail(exitOf(err), "give it more time; if the broker has an alarm, which its management UI shows, free memory or disk there", "%w", err)
	default:
		return err
	}
}
