//go:build !short

package peers

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	machinery "github.com/RichardKnop/machinery/v2"
	amqpbackend "github.com/RichardKnop/machinery/v2/backends/amqp"
	"github.com/RichardKnop/machinery/v2/backends/iface"
	"github.com/RichardKnop/machinery/v2/backends/null"
	amqpbroker "github.com/RichardKnop/machinery/v2/brokers/amqp"
	"github.com/RichardKnop/machinery/v2/config"
	"github.com/RichardKnop/machinery/v2/locks/eager"
	mlog "github.com/RichardKnop/machinery/v2/log"
	"github.com/RichardKnop/machinery/v2/tasks"
)

// machineryPeer is RichardKnop/machinery. It is persistent and waits for a confirm after each publish, on one channel
// that all goroutines share without telling whose confirm it is; it is never mandatory, and has nothing to choose
// there. A result is a queue for each task in its AMQP backend, which is asked again and again; where nothing is asked
// it has none.
func machineryPeer() Peer {
	return Peer{
		Name: "machinery", Module: "github.com/RichardKnop/machinery/v2",
		About: "Persistent and confirmed, as always; without results where nothing is asked, with its AMQP backend, polled each millisecond, for requests, which is quicker than up to 50 ms; " +
			"each delivery acked after its task; its own retry, ErrRetryTaskLater. The payload is three arguments of a task.",
		Sender: func(_ context.Context, s Setting) (Sender, error) { return newMachine(s, commands, null.New()) },
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return machineWork(ctx, s, commands, nil, ready, machineTask(ctx, s, h))
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return machineWork(ctx, s, commands, nil, ready, machineTask(ctx, s, h))
		},
		Caller: func(_ context.Context, s Setting) (Caller, error) {
			return newMachine(s, requests, amqpbackend.New(machineConfig(s, requests)))
		},
		Serve: func(ctx context.Context, s Setting, ready func(), r Responder) error {
			return machineWork(ctx, s, requests, amqpbackend.New(machineConfig(s, requests)), ready,
				func(id string, at int64, fill string) (string, int64, string, error) {
					reply, err := r(ctx, &Payload{id, at, fill})
					if err != nil {
						return "", 0, "", err
					}
					return reply.ID, reply.At, reply.Fill, nil
				})
		},
	}
}

// machineTask is the function that handles a task; an error is tried again after the delay.
func machineTask(ctx context.Context, s Setting, h Handler) func(id string, at int64, fill string) error {
	return func(id string, at int64, fill string) error {
		err := h(ctx, &Payload{id, at, fill})
		if err != nil && s.RetryDelay > 0 {
			return tasks.NewErrRetryTaskLater(err.Error(), s.RetryDelay)
		}
		return err
	}
}

const (
	machineTaskName = "task"
	machinePoll     = time.Millisecond
)

func machineConfig(s Setting, exchange string) *config.Config {
	args := config.QueueDeclareArgs(WorkArgs(s.Queue))
	if exchange == requests {
		args = config.QueueDeclareArgs{"x-queue-type": "classic", "x-expires": int64(60_000)}
	}
	return &config.Config{
		Broker: s.URL, ResultBackend: s.URL, DefaultQueue: s.Queue, ResultsExpireIn: 60, NoUnixSignals: true,
		AMQP: &config.AMQPConfig{
			Exchange: exchange, ExchangeType: "direct", BindingKey: s.Queue, PrefetchCount: s.Prefetch, QueueDeclareArgs: args,
		},
	}
}

// machineLog hands what the library says to slog.
type machineLog struct{ log *slog.Logger }

func (m machineLog) say(text string)                { m.log.Warn(strings.TrimSpace(text)) }
func (m machineLog) Print(a ...any)                 { m.say(fmt.Sprint(a...)) }
func (m machineLog) Printf(format string, a ...any) { m.say(fmt.Sprintf(format, a...)) }
func (m machineLog) Println(a ...any)               { m.say(fmt.Sprintln(a...)) }
func (m machineLog) Fatal(a ...any)                 { m.say(fmt.Sprint(a...)) }
func (m machineLog) Fatalf(format string, a ...any) { m.say(fmt.Sprintf(format, a...)) }
func (m machineLog) Fatalln(a ...any)               { m.say(fmt.Sprintln(a...)) }
func (m machineLog) Panic(a ...any)                 { panic(fmt.Sprint(a...)) }
func (m machineLog) Panicf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (m machineLog) Panicln(a ...any)               { panic(fmt.Sprintln(a...)) }

// noLog says nothing.
type noLog struct{}

func (noLog) Print(...any)                   {}
func (noLog) Printf(string, ...any)          {}
func (noLog) Println(...any)                 {}
func (noLog) Fatal(...any)                   {}
func (noLog) Fatalf(string, ...any)          {}
func (noLog) Fatalln(...any)                 {}
func (noLog) Panic(a ...any)                 { panic(fmt.Sprint(a...)) }
func (noLog) Panicf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }
func (noLog) Panicln(a ...any)               { panic(fmt.Sprintln(a...)) }

func machineServer(s Setting, exchange string, backend iface.Backend) *machinery.Server {
	mlog.Set(noLog{}) // it warns of every retry
	if s.Log.Enabled(context.Background(), slog.LevelError) {
		mlog.SetError(machineLog{s.Log})
		mlog.SetFatal(machineLog{s.Log})
	}
	cnf := machineConfig(s, exchange)
	if backend == nil {
		backend = null.New()
	}
	return machinery.NewServer(cnf, amqpbroker.New(cnf), backend, eager.New())
}

type machine struct{ server *machinery.Server }

func newMachine(s Setting, exchange string, backend iface.Backend) (*machine, error) {
	if exchange == commands && !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	return &machine{machineServer(s, exchange, backend)}, nil
}

func (m *machine) signature(p *Payload) (*tasks.Signature, error) {
	return tasks.NewSignature(machineTaskName, []tasks.Arg{
		{Name: "id", Type: "string", Value: p.ID}, {Name: "at", Type: "int64", Value: p.At}, {Name: "fill", Type: "string", Value: p.Fill},
	})
}

func (m *machine) Send(ctx context.Context, p *Payload) error {
	signature, err := m.signature(p)
	if err != nil {
		return err
	}
	_, err = m.server.SendTaskWithContext(ctx, signature)
	return err
}

func (m *machine) Call(ctx context.Context, p *Payload) (*Payload, error) {
	signature, err := m.signature(p)
	if err != nil {
		return nil, err
	}
	task, err := m.server.SendTaskWithContext(ctx, signature)
	if err != nil {
		return nil, err
	}
	values, err := task.GetWithTimeout(callTimeout, machinePoll)
	if err != nil {
		return nil, err
	}
	if len(values) != 3 {
		return nil, fmt.Errorf("%d results instead of 3", len(values))
	}
	return &Payload{values[0].String(), values[1].Int(), values[2].String()}, nil
}

func (m *machine) Close(context.Context) error {
	if b, ok := m.server.GetBroker().(*amqpbroker.Broker); ok {
		return b.CloseConnections()
	}
	return nil
}

func machineWork(ctx context.Context, s Setting, exchange string, backend iface.Backend, ready func(), task any) error {
	if exchange == commands {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return err
		}
	}
	server := machineServer(s, exchange, backend)
	if err := server.RegisterTask(machineTaskName, task); err != nil {
		return err
	}
	worker := server.NewWorker("bench", s.Concurrency)
	ended := make(chan error, 8)
	worker.LaunchAsync(ended)
	if err := awaitConsumers(ctx, s, ready); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		worker.Quit()
		return nil
	case err := <-ended:
		return err
	}
}
