package peers

import (
	"context"
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A flavour of Leveret is what it connects with beside the address.
type flavour func(*leveret.ConnConfig)

func (f flavour) connect(ctx context.Context, s Setting) (*leveret.Conn, error) {
	config := leveret.ConnConfig{URLs: []string{s.URL}, Name: "bench", Logger: s.Log}
	f(&config)
	return leveret.Connect(ctx, config)
}

// leveretPeer is Leveret through its public interface and with its defaults: typed contracts, a client, a worker.
func leveretPeer() Peer {
	f := flavour(func(*leveret.ConnConfig) {})
	return f.peer(Peer{
		Name: Leveret, Module: leveretModule,
		About: "Everything on, as by default: persistent, mandatory, confirmed, published again under the same id after a lost " +
			"connection; acked after the handler; a failed message's copy confirmed before the original is acked.",
	})
}

const leveretModule = "github.com/leveretmq/leveret"

func (f flavour) peer(p Peer) Peer {
	p.Sender, p.Pipeline, p.Work, p.Retry, p.Caller, p.Serve = f.sender, f.pipeline, f.work, f.work, f.caller, f.serve
	return p
}

func leveretCommand(s Setting, name string) *leveret.Command[Payload] {
	var options []leveret.ContractOption
	if s.RetryDelay > 0 {
		options = append(options, leveret.Retry(leveret.RetryPolicy{Delays: []time.Duration{s.RetryDelay}}))
	}
	return leveret.NewCommand[Payload](name, options...)
}

func leveretCommands(s Setting) (commands []*leveret.Command[Payload], contracts []leveret.Contract) {
	for _, name := range s.queues() {
		c := leveretCommand(s, name)
		commands, contracts = append(commands, c), append(contracts, c)
	}
	return commands, contracts
}

// leveretClient is a connection with a client on it.
type leveretClient struct {
	conn   *leveret.Conn
	client *leveret.Client
}

func (f flavour) client(ctx context.Context, s Setting, service *leveret.Service) (*leveretClient, error) {
	conn, err := f.connect(ctx, s)
	if err != nil {
		return nil, err
	}
	client, err := leveret.NewClient(conn, service, leveret.ClientConfig{MaxInFlight: s.Window})
	if err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return &leveretClient{conn, client}, nil
}

func (c *leveretClient) Close(ctx context.Context) error {
	return errors.Join(c.client.Close(ctx), c.conn.Close(ctx))
}

type leveretSends struct {
	*leveretClient
	commands []*leveret.Command[Payload]
	next     func() int
}

func (f flavour) sends(ctx context.Context, s Setting) (*leveretSends, error) {
	commands, contracts := leveretCommands(s)
	c, err := f.client(ctx, s, leveret.NewService("bench", leveret.Sends(contracts...)))
	if err != nil {
		return nil, err
	}
	return &leveretSends{c, commands, roundRobin(len(commands))}, nil
}

func (f flavour) sender(ctx context.Context, s Setting) (Sender, error) { return f.sends(ctx, s) }

func (l *leveretSends) Send(ctx context.Context, p *Payload) error {
	return l.commands[l.next()].Send(ctx, l.client, *p)
}

// leveretPipe is a pipeline as a sender.
type leveretPipe struct {
	*leveretSends
	pipeline *leveret.Pipeline
}

func (l leveretPipe) Send(ctx context.Context, p *Payload) error {
	m, err := l.commands[l.next()].Message(ctx, *p)
	if err != nil {
		return err
	}
	return l.pipeline.Write(ctx, m)
}

func (f flavour) pipeline(ctx context.Context, s Setting) (Pipeline, error) {
	sends, err := f.sends(ctx, s)
	if err != nil {
		return nil, err
	}
	return leveretPipe{sends, sends.client.Pipeline(nil)}, nil
}

func (l leveretPipe) Flush(ctx context.Context) error { return l.pipeline.Flush(ctx) }

func (f flavour) work(ctx context.Context, s Setting, ready func(), h Handler) error {
	commands, contracts := leveretCommands(s)
	return f.run(ctx, s, leveret.NewService("bench", leveret.Handles(contracts...)), ready, func(handlers *leveret.Handlers) {
		for _, c := range commands {
			c.Handle(handlers, func(ctx context.Context, p Payload) error { return h(ctx, &p) })
		}
	})
}

// run runs a worker, and says when it is ready.
func (f flavour) run(ctx context.Context, s Setting, service *leveret.Service, ready func(), register func(*leveret.Handlers)) error {
	conn, err := f.connect(ctx, s)
	if err != nil {
		return err
	}
	closing := context.WithoutCancel(ctx)
	h := leveret.NewHandlers(service, leveret.HandlersConfig{})
	register(h)
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{Concurrency: s.Concurrency, Prefetch: s.Prefetch, OnReady: ready})
	if err != nil {
		return errors.Join(err, conn.Close(closing))
	}
	err = w.Run(ctx)
	return errors.Join(err, conn.Close(closing))
}

func leveretRequest(s Setting) *leveret.Request[Payload, Payload] {
	return leveret.NewRequest[Payload, Payload](s.Queue, leveret.Timeout(callTimeout))
}

type leveretCalls struct {
	*leveretClient
	request *leveret.Request[Payload, Payload]
}

func (f flavour) caller(ctx context.Context, s Setting) (Caller, error) {
	r := leveretRequest(s)
	c, err := f.client(ctx, s, leveret.NewService("caller", leveret.Calls(r)))
	return leveretCalls{c, r}, err
}

func (l leveretCalls) Call(ctx context.Context, p *Payload) (*Payload, error) {
	reply, err := l.request.Call(ctx, l.client, *p)
	return &reply, err
}

func (f flavour) serve(ctx context.Context, s Setting, ready func(), r Responder) error {
	request := leveretRequest(s)
	return f.run(ctx, s, leveret.NewService("bench", leveret.Answers(request)), ready, func(h *leveret.Handlers) {
		request.Answer(h, func(ctx context.Context, p Payload) (Payload, error) {
			reply, err := r(ctx, &p)
			if err != nil {
				return Payload{}, err
			}
			return *reply, nil
		})
	})
}
