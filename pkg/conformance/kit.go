package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
	"github.com/leveretmq/leveret/pkg/topology"
)

// DefaultPatience is how long the kit waits for something that a client has to do.
const DefaultPatience = 10 * time.Second

// Config says what is judged. Client, Role and URL are required.
type Config struct {
	Role   Role
	Client Client
	// URL is an AMQP URL of a virtual host of the kit's own, which is empty.
	URL string
	// Patience is how long the kit waits for something that the client has to do. Default [DefaultPatience].
	Patience time.Duration
	// Stderr gets the end of what the client has written to its standard error, where the client ends by itself.
	// Default: none.
	Stderr io.Writer
	// Progress is called with each verdict, as soon as it is known. Default: none.
	Progress func(Result)
}

// Run drives a client of a role, and returns the verdict on each of the role's rules. The error says that the kit itself
// could not go on: the broker is gone, or ctx has ended. When Run returns, the client has ended.
func Run(ctx context.Context, c Config) (Report, error) {
	rules := Rules(c.Role)
	switch {
	case len(rules) == 0:
		return Report{}, fmt.Errorf("conformance: there is no role %q; roles are %s", c.Role, strings.Join(RoleNames(), ", "))
	case c.Client == nil:
		return Report{}, errors.New("conformance: Config.Client is missing")
	case c.Patience < 0:
		return Report{}, fmt.Errorf("conformance: Config.Patience is %s; it must be positive, or 0 for %s", c.Patience, DefaultPatience)
	case c.Patience == 0:
		c.Patience = DefaultPatience
	}
	s, err := newSession(ctx, c)
	if err != nil {
		return Report{}, fmt.Errorf("conformance: %w", err)
	}
	defer s.close()
	report, err := s.judge(ctx, rules)
	if err != nil {
		return report, fmt.Errorf("conformance: %w", err)
	}
	return report, nil
}

// A session is one run of the kit.
type session struct {
	Config

	role     roleSetup
	trace    *trace
	proxy    *proxy
	admin    *amqp.Connection
	channel  *amqp.Channel
	login    *url.Userinfo
	serial   int
	client   *client
	version  string
	serials  sync.Mutex
	lastLine *tail
}

// A client runs.
type client struct {
	from   int // its first event
	in     *io.PipeWriter
	cancel context.CancelFunc
	done   chan struct{}
}

func newSession(ctx context.Context, c Config) (*session, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("the broker's URL is not one") // the cause would show its password
	}
	s := &session{Config: c, role: setups[c.Role], trace: newTrace(), login: u.User, lastLine: &tail{}}
	for tried := 1; ; tried++ {
		if err = s.open(); err == nil {
			break
		}
		failed, ok := errors.AsType[*amqp.Error](err)
		if !ok || failed.Code != amqp.InternalError || tried == tries || ctx.Err() != nil {
			return nil, err
		}
		contexts.Sleep(ctx, time.Second)
	}
	s.version, _ = s.admin.Properties["version"].(string)
	vhost := strings.TrimPrefix(u.Path, "/")
	if vhost == "" {
		vhost = "/"
	}
	if s.proxy, err = startProxy(ctx, u.Host, vhost, s.trace); err != nil {
		_ = s.admin.Close()
		return nil, err
	}
	return s, nil
}

// tries is how often the kit tries to begin. RabbitMQ closes the connection if a new quorum queue has no leader after five
// seconds, as on a busy disk.
const tries = 5

// open connects, and declares what the client finds.
func (s *session) open() (err error) {
	if s.admin, err = amqp.DialConfig(s.URL, amqp.Config{}); err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	if err := s.prepare(); err != nil {
		_ = s.admin.Close()
		return err
	}
	return nil
}

// prepare declares what the client finds.
func (s *session) prepare() error {
	var err error
	if s.channel, err = s.admin.Channel(); err != nil {
		return err
	}
	if err := s.channel.Confirm(false); err != nil {
		return err
	}
	t := s.role.topology()
	t.Add(topology.Topology{Exchanges: []topology.Exchange{{Name: nowhere, Type: topology.Fanout}}})
	for _, e := range t.Exchanges {
		if err := s.channel.ExchangeDeclare(e.Name, e.Type, true, false, false, false, e.Args); err != nil {
			return err
		}
	}
	for _, q := range t.Queues {
		if _, err := s.channel.QueueDeclare(q.Name, true, false, false, false, q.Args); err != nil {
			return err
		}
	}
	if s.Role == Answerer { // the broker takes this reply_to from those alone that consume it
		replies, err := s.channel.Consume(directReply, "", true, false, false, false, nil)
		if err != nil {
			return err
		}
		go func() { // until the connection ends
			for range replies {
			}
		}()
	}
	if s.Role == Caller {
		if err := s.serve(); err != nil {
			return err
		}
	}
	for _, b := range t.Bindings {
		if err := s.channel.QueueBind(b.Queue, b.RoutingKey, b.Exchange, false, b.Args); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) close() {
	s.stop()
	s.proxy.close()
	_ = s.admin.Close()
}

// judge finds the verdict on each rule, in order.
func (s *session) judge(ctx context.Context, rules []Rule) (Report, error) {
	report := Report{Role: s.Role, Broker: s.version, OK: true, Results: []Result{}}
	failed := make(map[string]bool)
	started := s.start(ctx)
	for _, r := range rules {
		v := s.verdict(ctx, r, failed, started)
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		if s.admin.IsClosed() {
			return report, errors.New("the connection to the broker is lost")
		}
		failed[r.ID] = v.state != Kept
		result := Result{Rule: r.ID, State: v.state, Should: r.Should, Text: r.Text, Why: v.why}
		report.add(result)
		if s.Progress != nil {
			s.Progress(result)
		}
		if started.state == Kept && (v.state == Broken || s.clientEnded()) {
			started = s.again(ctx)
		}
	}
	return report, nil
}

func (s *session) verdict(ctx context.Context, r Rule, failed map[string]bool, started verdict) verdict {
	for _, need := range r.needs {
		if failed[need] {
			return untested("it needs %s", need)
		}
	}
	if started.state != Kept && !r.early {
		return untested("%s", started.why)
	}
	s.proxy.decide(nil)
	return r.check(ctx, s)
}

// again starts a client anew, with empty queues.
func (s *session) again(ctx context.Context) verdict {
	s.stop()
	s.proxy.decide(nil)
	// When the broker has noticed that the client has gone, what that had is in the queue again.
	for poll := time.NewTicker(10 * time.Millisecond); s.role.queue != ""; <-poll.C {
		var q amqp.Queue
		err := s.apart(func(ch *amqp.Channel) (err error) {
			q, err = ch.QueueDeclarePassive(s.role.queue, true, false, false, false, nil)
			return err
		})
		if err != nil || q.Consumers == 0 || ctx.Err() != nil {
			poll.Stop()
			break
		}
	}
	for _, q := range s.role.topology().Queues {
		if _, err := s.channel.QueuePurge(q.Name, false); err != nil {
			return untested("the kit cannot empty %s: %v", q.Name, err)
		}
	}
	if s.Role == Listener { // it may have declared another queue, or none that stays
		_ = s.apart(func(ch *amqp.Channel) error {
			_, err := ch.QueuePurge(Subscription, false)
			return err
		})
	}
	return s.start(ctx)
}

// start starts the client, and waits until it is ready.
func (s *session) start(ctx context.Context) verdict {
	clientCtx, cancel := context.WithCancel(ctx)
	reader, writer := io.Pipe()
	c := &client{from: s.trace.now(), in: writer, cancel: cancel, done: make(chan struct{})}
	s.client = c
	out := &lines{each: func(line string) { s.trace.add(event{what: said, text: line}) }}
	s.lastLine = &tail{}
	u := url.URL{Scheme: "amqp", User: s.login, Host: s.proxy.listener.Addr().String()}
	go func() {
		defer close(c.done)
		err := s.Client(clientCtx, Streams{URL: u.String(), In: reader, Out: out, Err: s.lastLine})
		out.flush()
		if clientCtx.Err() == nil && s.Stderr != nil { // it was not asked to end
			_, _ = s.Stderr.Write(s.lastLine.end)
		}
		_ = reader.Close()
		_ = writer.Close()
		s.trace.add(event{what: ended, err: err})
	}()
	if s.role.queue == "" {
		return verdict{state: Kept}
	}
	e, err := s.await(ctx, c.from, func(e event) bool { return e.what == consuming || e.refusesDeclaration() })
	switch {
	case err != nil:
		return untested("the client did not start to consume: %v", err)
	case e.what == closed:
		return untested("the broker refused what the client declares")
	}
	return verdict{state: Kept}
}

func (s *session) stop() {
	if s.client == nil {
		return
	}
	s.client.cancel()
	<-s.client.done
	s.client = nil
	s.proxy.cut()
}

func (s *session) clientEnded() bool {
	select {
	case <-s.client.done:
		return true
	default:
		return false
	}
}

// slowly returns d, or more where the patience is long: a client that waits and one that does not must differ on a busy
// machine as well.
func (s *session) slowly(d time.Duration) time.Duration { return max(d, s.Patience/240) }

// await waits for an event. Its error says what came instead: that the client has ended, or nothing.
func (s *session) await(ctx context.Context, from int, matches func(event) bool) (event, error) {
	return s.awaitFor(ctx, s.Patience, from, matches)
}

func (s *session) awaitFor(ctx context.Context, patience time.Duration, from int, matches func(event) bool) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := s.client.from
	for _, e := range s.trace.since(began)[:max(0, from-began)] {
		if e.what == ended {
			return e, s.whyEnded(e)
		}
	}
	e, ok := s.trace.wait(ctx, from, func(e event) bool { return e.what == ended || matches(e) })
	switch {
	case !ok:
		return e, fmt.Errorf("nothing came within %s", patience)
	case e.what == ended && !matches(e):
		return e, s.whyEnded(e)
	default:
		return e, nil
	}
}

// errEnded means that the client has ended.
var errEnded = errors.New("the client ended")

func (s *session) whyEnded(e event) error {
	err := errEnded
	if e.err != nil {
		err = fmt.Errorf("%w: %w", errEnded, e.err)
	}
	if last := s.lastLine.last(); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// id returns the next message's own marker.
func (s *session) id() string {
	s.serials.Lock()
	defer s.serials.Unlock()
	s.serial++
	return fmt.Sprintf("%s%04d", idPrefix, s.serial)
}

// idPrefix begins all ids, and stands in no other text.
const idPrefix = "case-"

// publish publishes a message as the kit, and waits for the confirm.
func (s *session) publish(ctx context.Context, exchange, key string, p amqp.Publishing) error {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	confirm, err := s.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, p)
	if err != nil {
		return fmt.Errorf("the kit cannot publish: %w", err)
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		return fmt.Errorf("the kit's message is not confirmed (%v, %w)", ok, err)
	}
	return nil
}

func kept() verdict                          { return verdict{state: Kept} }
func broken(format string, a ...any) verdict { return verdict{Broken, fmt.Sprintf(format, a...)} }
func untested(format string, a ...any) verdict {
	return verdict{NotTested, fmt.Sprintf(format, a...)}
}

// lines calls a function for each line that is written.
type lines struct {
	each func(string)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		l.each(strings.TrimSpace(string(line)))
		l.rest = slices.Clone(rest)
	}
}

func (l *lines) flush() {
	if len(l.rest) > 0 {
		l.each(strings.TrimSpace(string(l.rest)))
	}
}

// tail keeps the end of what is written.
type tail struct {
	mu  sync.Mutex
	end []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	t.end = t.end[max(0, len(t.end)-4096):]
	return len(b), nil
}

// last returns the last line that is not empty.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := strings.Split(strings.TrimSpace(string(t.end)), "\n")
	return strings.TrimSpace(all[len(all)-1])
}

// did reports whether a line says that the work on a message was done.
func did(line, id string) bool {
	var said struct {
		Did string `json:"did"`
	}
	return json.Unmarshal([]byte(line), &said) == nil && said.Did == id
}
