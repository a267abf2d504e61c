package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

const (
	// statusWithin bounds how long `status` looks at a broker that answers slowly or not at all, and before that how long
	// it asks the management API, which takes seconds to list thousands of queues.
	statusWithin = 20 * time.Second
	// noAnswer is how long a queue has to be waited for to count as one that does not answer.
	noAnswer = 5 * time.Second
)

// facts looks at the broker and the queues of the catalog. It fails only if it was interrupted, or if a setting is
// wrong.
func (a *App) facts(ctx context.Context, limit int) (*health.Facts, error) {
	f := &health.Facts{Program: a.Name, Now: time.Now(), Address: a.brokerAddress(), VHost: a.settings.vhost()}
	conn, err := a.Connect(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case exitOf(err) == ExitUnreachable || errors.Is(err, context.DeadlineExceeded):
		f.Unreachable = err
		if e, ok := errors.AsType[*Error](err); ok {
			f.Next = e.Next
		}
		return f, nil
	case err != nil:
		return nil, err
	}
	asker := operator.NewAsker(conn)
	defer a.close(ctx, conn, asker.Close)
	api, err := a.management()
	if err != nil {
		return nil, usage("", "%w", err)
	}
	f.Address, f.Version = conn.Broker()
	s := &survey{app: a, facts: f, conn: conn, asker: asker, limit: limit, inspector: newInspector(conn, statusWithin)}
	for _, look := range []func(context.Context){func(ctx context.Context) { s.manage(ctx, api) }, s.queues, s.outboxes} {
		looking, cancel := context.WithTimeout(ctx, statusWithin)
		look(looking)
		cancel()
	}
	s.unseen()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if state := conn.Rabbit().State(); state.Phase != rabbit.Connected { // it was lost meanwhile
		f.Unreachable = fmt.Errorf("the broker cannot be reached: %w", state.Err)
	}
	f.Now = time.Now()
	return f, nil
}

// brokerAddress is where the configured broker is, without a password.
func (a *App) brokerAddress() string {
	var all []string
	for _, address := range a.settings.urls {
		if u, err := url.Parse(address); err == nil {
			all = append(all, u.Host)
		}
	}
	if len(all) == 0 {
		return net.JoinHostPort("localhost", "5672")
	}
	return strings.Join(all, ", ")
}

// A survey collects the facts of one run of `status`.
type survey struct {
	app   *App
	facts *health.Facts
	conn  *leveret.Conn
	asker *operator.Asker
	limit int // of the dead letters of a queue that are read

	inspector *inspector
	managed   map[string]management.Queue
	governed  map[string]management.Governed

	mu      sync.Mutex
	refused []trouble // queues that could not be asked for
	unread  []trouble // dead letters that could not be read
	outbox  []trouble // services whose outboxes could not be looked at
	silent  []trouble // services that were asked, and did not answer
}

// trouble is what went wrong with a queue, or the outbox of a service.
type trouble struct {
	queue string
	err   error
}

// manage asks the management API, which is optional.
func (s *survey) manage(ctx context.Context, api *management.Client) {
	var err error
	if s.facts.Nodes, err = api.Nodes(ctx); err != nil {
		s.alarmOverAMQP(ctx, err)
	}
	if s.governed, err = api.Governed(ctx, s.facts.VHost); err != nil {
		s.facts.Unseen = append(s.facts.Unseen, health.Unseen{What: health.Policies, Why: err.Error(), Next: hint(err)})
		return
	}
	s.managed, _ = api.Queues(ctx, s.facts.VHost)
}

// alarmOverAMQP finds out about an alarm without the management API: the broker notifies a connection that publishes.
// What it publishes has no queue to go to. The broker may still answer the first message, and reads no second one.
func (s *survey) alarmOverAMQP(ctx context.Context, managed error) {
	soon, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	publisher := rabbit.NewPublisher(s.conn.Publishing(), rabbit.PublisherConfig{})
	defer func() { _ = publisher.Close(soon) }()
	var err error
	for _, id := range []string{"status-1", "status-2"} {
		err = publisher.Publish(soon, &rabbit.Publication{
			RoutingKey: s.conn.Names().ReplyPrefix() + "nobody", Mandatory: true, Publishing: rabbit.Publishing{MessageId: id},
		})
		if !errors.Is(err, rabbit.ErrUnroutable) {
			break
		}
	}
	switch state := s.conn.Publishing().State(); {
	case state.Phase == rabbit.Blocked:
		s.facts.Alarm = state.Err.Error()
	case errors.Is(err, rabbit.ErrUnroutable):
	default:
		s.facts.Unseen = append(s.facts.Unseen, health.Alarms(fmt.Sprintf("%v; over AMQP: %v", managed, err), hint(managed)))
	}
}

// queues asks for every queue of the catalog.
func (s *survey) queues(ctx context.Context) {
	s.facts.Queues = s.app.healthQueues()
	var group errgroup.Group
	group.SetLimit(lookers)
	for i := range s.facts.Queues {
		group.Go(func() error {
			s.queue(ctx, &s.facts.Queues[i])
			return nil
		})
	}
	_ = group.Wait()
}

// outboxes asks the services what waits in their outboxes. Where no process of one can be asked there is nothing to see.
func (s *survey) outboxes(ctx context.Context) {
	blocked := func() bool { return s.conn.Publishing().State().Phase == rabbit.Blocked } // the broker reads nothing
	if blocked() {
		return
	}
	var asking sync.WaitGroup
	for _, one := range s.app.Catalog.Services() {
		if !mayHaveOutbox(one) {
			continue
		}
		service := one.Name()
		asking.Go(func() {
			report, err := outboxOf(ctx, s.asker, service)
			switch {
			case errors.Is(err, errNobody):
				return
			case errors.Is(err, errSilent):
				if !blocked() {
					s.note(&s.silent, service, err)
				}
				return
			case err != nil:
				s.note(&s.outbox, service, err)
				return
			case report.Outbox == nil:
				return // it has none
			case report.Outbox.Unseen != "":
				s.note(&s.outbox, service, errors.New(report.Outbox.Unseen))
				return
			}
			o := report.Outbox
			s.mu.Lock()
			defer s.mu.Unlock()
			s.facts.Outboxes = append(s.facts.Outboxes, health.Outbox{
				Service: service, Aside: o.Aside, BlockedKeys: o.BlockedKeys, Trouble: o.Trouble,
				Lag: time.Duration(o.Lag * float64(time.Second)), Remembers: time.Duration(o.Remembers * float64(time.Second)),
			})
		})
	}
	asking.Wait()
	slices.SortFunc(s.facts.Outboxes, func(a, b health.Outbox) int { return cmp.Compare(a.Service, b.Service) })
	for _, l := range [][]trouble{s.outbox, s.silent} {
		slices.SortFunc(l, func(a, b trouble) int { return cmp.Compare(a.queue, b.queue) })
	}
}

// available are the states of queues that can be used.
var available = []string{"", "running", "idle", "flow"}

func (s *survey) queue(ctx context.Context, q *health.Queue) {
	m, known := s.managed[q.Name]
	g := s.governed[q.Name]
	q.Policy = g.AppliedPolicy
	if !slices.Contains(available, g.State) {
		q.Seen, q.Declared, q.Down = true, true, g.State
		return
	}
	if m.Unacked != nil {
		q.Unacked = *m.Unacked
	}
	if age := m.Oldest(s.facts.Now); age != nil && q.Kind != health.Kept {
		q.Oldest = time.Duration(*age * float64(time.Second))
	}
	began := time.Now()
	state, err := s.inspector.inspect(ctx, q.Name)
	switch err = cmp.Or(err, state.err); {
	case err == nil:
		q.Seen, q.Declared, q.Ready, q.Consumers = true, true, state.Ready, state.Consumers
	case errors.Is(err, rabbit.ErrNotFound):
		q.Seen, q.Policy = true, management.AppliedPolicy{}
	case errors.Is(err, rabbit.ErrRefused) && s.managed != nil: // the management API is a few seconds late
		q.Seen, q.Declared = true, known
		if m.Ready != nil && m.Consumers != nil {
			q.Ready, q.Consumers = *m.Ready, *m.Consumers
		}
	case errors.Is(err, rabbit.ErrRefused):
		s.note(&s.refused, q.Name, err)
	case ctx.Err() != nil && time.Since(began) < noAnswer: // the others have taken the time
		s.note(&s.refused, q.Name, errTooMany)
	default:
		q.Seen, q.Declared, q.Down = true, true, "no answer"
	}
	if q.Kind == health.DeadLetters && !q.Theirs && q.Ready > 0 && s.limit > 0 {
		s.letters(ctx, q)
	}
}

func (s *survey) note(list *[]trouble, queue string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, trouble{queue, err})
}

// errTooMany is why a queue was not asked for.
var errTooMany = fmt.Errorf("the broker did not answer for all queues within %v", statusWithin)

// errLooksCount is why dead letters are not read.
var errLooksCount = errors.New("looking at them too often would remove them: a policy limits how often they may be delivered")

// letters reads dead letters, to say why they failed, and puts them back. That counts as a delivery before RabbitMQ
// 4.3, so it keeps far from the limit.
func (s *survey) letters(ctx context.Context, q *health.Queue) {
	if limit, ok := q.Policy.Definition["delivery-limit"].(float64); ok && limit < topology.KeptDeliveryLimit {
		s.note(&s.unread, q.Name, errLooksCount)
		return
	}
	store := deadletter.New(s.conn)
	groups, _, err := store.Groups(ctx, store.DeadLetters(q.Of), s.limit, nil)
	if err != nil {
		s.note(&s.unread, q.Name, err)
		return
	}
	letters := &health.Letters{}
	for _, g := range groups {
		letters.Read += g.Count
		letters.Reasons = append(letters.Reasons, health.Reason{
			Why: why(g.Code, g.Reason), Error: g.Error, Count: g.Count, Oldest: g.Oldest, Newest: g.Newest,
		})
	}
	q.Letters = letters
}

// unseen names the queues that could not be looked at, by the first error.
func (s *survey) unseen() {
	const shown = 3
	for _, t := range []struct {
		list       []trouble
		what, next string
	}{
		{s.refused, "the queues", "grant the user the tag monitoring, or permission to read them"},
		{s.unread, "why dead letters failed, in", "grant the user permission to read them"},
		{s.outbox, "the outbox of", "grant the user permission to write to the exchange operators"},
		{s.silent, "the outbox of", ""},
	} {
		if len(t.list) == 0 {
			continue
		}
		var names []string
		for _, one := range t.list[:min(shown, len(t.list))] {
			names = append(names, one.queue)
		}
		if more := len(t.list) - shown; more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		next := ""
		switch err := t.list[0].err; {
		case errors.Is(err, errLooksCount):
			next = "rabbitmqctl list_policies"
		case errors.Is(err, rabbit.ErrRefused):
			next = t.next
		}
		s.facts.Unseen = append(s.facts.Unseen, health.Unseen{
			What: t.what + " " + strings.Join(names, ", "), Why: t.list[0].err.Error(), Next: next,
		})
	}
}

// healthQueues returns the queues of the catalog, but for those of single processes: whether there should be any, only
// the processes know.
func (a *App) healthQueues() []health.Queue {
	requests := map[string]bool{}
	for _, q := range a.workQueues() {
		requests[q.name] = q.kind == leveret.KindRequest
	}
	delays := a.retryDelays()
	var all []health.Queue
	for _, q := range a.shownQueues() {
		if q.kind == kindProcess {
			continue
		}
		h := health.Queue{Name: q.name, Kind: health.Kind(q.kind), Service: q.service, Delay: delays[q.name]}
		switch {
		case requests[q.name]:
			h.Kind = health.Request
		case q.kind == kindKept:
			h.Age, h.Bytes = q.kept.Age, q.kept.Bytes
		case q.kind == kindDeadLetters:
			h.Of, h.Theirs = q.of, q.theirs
		}
		all = append(all, h)
	}
	return all
}

// retryDelays returns how long messages wait in each retry tier.
func (a *App) retryDelays() map[string]time.Duration {
	delays := map[string]time.Duration{}
	for _, s := range a.Catalog.Services() {
		for _, c := range a.retried(s) {
			for _, d := range c.Retry.Delays {
				delays[a.names().RetryTier(s.Name(), d)] = d
			}
		}
	}
	return delays
}
