package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Config says who answers. Service is required.
type Config struct {
	Service *leveret.Service
	// Instance and Version are those of the connection: see leveret.ConnConfig. Both are optional.
	Instance, Version string
	// NoDeclare declares only the exclusive queue of the process, and binds it: somebody else declares the exchanges.
	NoDeclare bool
	// Facts are what there is to report. Optional.
	Facts *Facts
	// Outbox returns what waits in the outbox that the process sends; nil where it sends none. Its context ends in half a second: a
	// question does not wait for longer. Optional.
	Outbox func(ctx context.Context) *Outbox
	// Commands are what an operator can have the process do, by name. Optional.
	Commands map[string]Command
	// Logger logs, at DEBUG, why nothing can be answered. Default slog.Default().
	Logger *slog.Logger
}

// A Command does something for an operator, and returns what the operator gets, as JSON. Its error reaches the operator as
// that of a request does. The context ends after ten seconds. Commands run one after the other.
type Command func(ctx context.Context, argument json.RawMessage) (result any, err error)

const (
	// redeclareEvery is how often the way of questions is declared again: nobody notices that an exchange was deleted.
	redeclareEvery = time.Minute
	// soonAgain is how often in a row Serve tries to be asked without a pause. Pauses grow up to redeclareEvery.
	soonAgain = 10
	// lookTime is how long it may take to look at the outbox.
	lookTime = time.Second / 2
	// answerTime is how long an answer may take to be sent.
	answerTime = 5 * time.Second
	// commandTime is how long a command may take.
	commandTime = 10 * time.Second
)

// Serve answers questions about the process until ctx ends. It waits through lost connections, and through whatever
// else is wrong for a time: its queue may belong to the connection before until the broker has missed that. Where its
// user may not be asked, it gives up, blocks until ctx ends, and costs nothing. It returns an error only if conn was
// closed.
func Serve(ctx context.Context, conn *leveret.Conn, config Config) error {
	config.Facts = cmp.Or(config.Facts, &Facts{})
	config.Logger = cmp.Or(config.Logger, slog.Default())
	report := Report{
		Service: config.Service.Name(), Instance: config.Instance, PID: os.Getpid(), Version: config.Version, Started: time.Now().UTC(),
	}
	report.Host, _ = os.Hostname()
	n := conn.Names()
	t := listening(n, report.Service, config.Instance+"-"+strings.ToLower(rand.Text()[:8]))
	if config.NoDeclare {
		t = t.Own()
	}
	declarer := rabbit.NewDeclarer(conn.Publishing())
	asked, giveUp := context.WithCancel(ctx)
	defer giveUp()
	attempts := 0 // since the last success
	consumer := rabbit.NewConsumer(conn.Publishing(), rabbit.ConsumerConfig{
		Queue: t.Queues[0].Name, Tag: "operators " + report.Service, Logger: quiet(config.Logger),
		Setup: func(ctx context.Context, missing bool) error {
			if attempts++; attempts > soonAgain {
				contexts.Sleep(ctx, min(time.Second<<min(attempts-soonAgain-1, 10), redeclareEvery))
			}
			if missing {
				declarer.Forget(t)
			}
			err := errors.Join(declarer.Declare(ctx, t), declarer.Missing(t))
			if errors.Is(err, rabbit.ErrRefused) {
				giveUp()
			}
			return err
		},
		OnReady: func() { attempts = 0 },
		Handle: func(ctx context.Context, d *rabbit.Incoming) rabbit.Settlement {
			if !strings.HasPrefix(d.ReplyTo, addresses(n)) {
				return rabbit.Ack
			}
			var said any
			switch d.Type {
			case reportType:
				report := report
				report.Queues = config.Facts.report()
				if config.Outbox != nil {
					looking, cancel := context.WithTimeout(ctx, lookTime)
					report.Outbox = config.Outbox(looking)
					cancel()
				}
				said = &report
			case commandType:
				said = config.obey(ctx, d.Body)
			}
			if said != nil {
				if err := answer(ctx, d, replyExchange(n, report.Service), report.Service, said); err != nil {
					config.Logger.DebugContext(ctx, "an operator was not answered", "error", err)
				}
			}
			return rabbit.Ack
		},
	})
	redeclaring := make(chan struct{})
	go func() {
		defer close(redeclaring)
		every := time.NewTicker(redeclareEvery)
		defer every.Stop()
		for {
			select {
			case <-every.C:
				_ = declarer.Refresh(asked, t, 0) // the next time may succeed
			case <-asked.Done():
				return
			}
		}
	}()
	err := consumer.Run(asked)
	giveUp()
	<-redeclaring
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// obey runs a command that is for this process, and returns its outcome; nil where it is for another one.
func (c *Config) obey(ctx context.Context, body []byte) any {
	var o order
	if json.Unmarshal(body, &o) != nil || o.Instance != c.Instance {
		return nil
	}
	result, err := c.run(ctx, o)
	text := []byte("null")
	if err == nil {
		text, err = json.Marshal(result)
	}
	if err != nil {
		return &outcome{Problem: leveret.EncodeProblem(err)}
	}
	return &outcome{Result: text}
}

func (c *Config) run(ctx context.Context, o order) (result any, err error) {
	command := c.Commands[o.Command]
	if command == nil {
		return nil, leveret.Errorf(leveret.Unimplemented, "this version of %s knows no command %q", c.Service.Name(), o.Command)
	}
	defer func() {
		if v := recover(); v != nil {
			err = leveret.Errorf(leveret.Internal, "the command panicked")
			c.Logger.ErrorContext(ctx, "a command of an operator panicked", "command", o.Command, "panic", v)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	return command(ctx, o.Argument)
}

func answer(ctx context.Context, d *rabbit.Incoming, exchange, service string, said any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	body, err := json.Marshal(said)
	if err != nil {
		return err
	}
	return d.Reply(ctx, &rabbit.Publication{Exchange: exchange, RoutingKey: d.ReplyTo, Publishing: rabbit.Publishing{
		CorrelationId: d.CorrelationId, Type: d.Type, ContentType: contentType, AppId: service, Body: body,
	}})
}

// quiet returns a logger whose records, whatever their level, are written at DEBUG: that an operator gets no answer is
// nothing that a service's log must warn about.
func quiet(log *slog.Logger) *slog.Logger { return slog.New(quietHandler{log.Handler()}) }

type quietHandler struct{ slog.Handler }

func (h quietHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return h.Handler.Handle(ctx, r)
}

func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}
