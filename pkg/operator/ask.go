package operator

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// An Asker asks the running processes of services. Make it with [NewAsker]; it is safe for concurrent use.
type Asker struct {
	conn *leveret.Conn

	mu         sync.Mutex
	requesters map[string]*rabbit.Requester // by exchange: where one does not exist, the broker closes the channel
	waiting    map[string]chan *rabbit.Delivery
}

// NewAsker makes an asker on a connection. It does not block; Close ends it.
func NewAsker(conn *leveret.Conn) *Asker {
	return &Asker{conn: conn, requesters: map[string]*rabbit.Requester{}, waiting: map[string]chan *rabbit.Delivery{}}
}

// maxReports is how many reports are kept until they are looked at.
const maxReports = 1024

// Ask returns the reports of a service's processes, sorted by instance. It returns as soon as there are enough of them,
// and otherwise when ctx ends, with those that came: nobody knows how many there are. It returns at once, with none, if
// no process can be asked: none runs, or none has a queue for questions. It fails if the question could not be sent:
// with [rabbit.ErrRefused] where the user may not.
func (a *Asker) Ask(ctx context.Context, service string, enough int) ([]Report, error) {
	answers := make(chan *rabbit.Delivery, maxReports)
	first, end, err := a.say(ctx, service, reportType, []byte("{}"), answers)
	defer end()
	switch {
	case errors.Is(err, rabbit.ErrUnroutable):
		return nil, nil
	case err != nil && ctx.Err() != nil:
		return nil, nil // nobody has answered in time
	case err != nil:
		return nil, fmt.Errorf("ask the processes of %s: %w", service, err)
	}
	reports := add(nil, first)
	for more := true; more; {
		if len(reports) >= enough {
			select {
			case d := <-answers:
				reports = add(reports, d)
			default:
				more = false
			}
			continue
		}
		select {
		case d := <-answers:
			reports = add(reports, d)
		case <-ctx.Done():
			more = false
		}
	}
	slices.SortFunc(reports, func(a, b Report) int { return cmp.Compare(a.Instance, b.Instance) })
	return reports, nil
}

// Command has one process of a service do something, as a report names it, and waits for the result, which it decodes into
// result unless that is nil. It fails as the command did; with DeadlineExceeded where the process did not answer before ctx
// ended, and may have done it all the same; with [rabbit.ErrUnroutable] where no process can be asked, and with
// [rabbit.ErrRefused] where the user may not.
func (a *Asker) Command(ctx context.Context, service, instance, command string, argument, result any) error {
	what, err := json.Marshal(argument)
	if err != nil {
		return err
	}
	body, err := json.Marshal(order{instance, command, what})
	if err != nil {
		return err
	}
	answer, end, err := a.say(ctx, service, commandType, body, nil)
	defer end()
	if err != nil {
		return fmt.Errorf("%s of %s: %w", command, service, err)
	}
	var o outcome
	if err := json.Unmarshal(answer.Body, &o); err != nil {
		return fmt.Errorf("%s of %s: the answer cannot be read: %w", command, service, err)
	}
	switch {
	case o.Problem != nil:
		return leveret.DecodeProblem(o.Problem)
	case result == nil:
		return nil
	default:
		return json.Unmarshal(o.Result, result)
	}
}

// say sends something to the processes of a service, and returns the first answer. Further ones arrive in answers until end
// is called.
func (a *Asker) say(ctx context.Context, service, kind string, body []byte, answers chan *rabbit.Delivery) (first *rabbit.Delivery, end func(), err error) {
	n := a.conn.Names()
	exchange, id := n.OperatorExchange(service), rand.Text()
	requester := a.expect(exchange, id, answers)
	question := &rabbit.Publication{Exchange: exchange, RoutingKey: key(n, service), Mandatory: true, ReplyExchange: replyExchange(n, service)}
	question.Publishing = rabbit.Publishing{MessageId: id, CorrelationId: id, Type: kind, ContentType: contentType, Body: body}
	first, err = requester.Call(ctx, question)
	if errors.Is(err, rabbit.ErrNotFound) { // in the isolated layout, the exchange is the service's
		err = fmt.Errorf("%w: %w", rabbit.ErrUnroutable, err)
	}
	return first, func() { a.forget(id) }, err
}

// add adds the report of an answer, unless it is none.
func add(reports []Report, d *rabbit.Delivery) []Report {
	var r Report
	if d.Type != reportType || json.Unmarshal(d.Body, &r) != nil {
		return reports
	}
	return append(reports, r)
}

// expect collects the answers to a question.
func (a *Asker) expect(exchange, id string, answers chan *rabbit.Delivery) *rabbit.Requester {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[id] = answers
	requester := a.requesters[exchange]
	if requester == nil {
		config := rabbit.RequesterConfig{Tag: "operator", OnLate: a.further}
		if n := a.conn.Names(); n.Layout == topology.Isolated {
			config.ReplyQueue = n.ReplyQueue(Name, strings.ToLower(rand.Text()[:8]))
		}
		requester = rabbit.NewRequester(a.conn.Publishing(), config)
		a.requesters[exchange] = requester
	}
	return requester
}

func (a *Asker) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

// further takes the answers after the first.
func (a *Asker) further(d *rabbit.Delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case a.waiting[d.CorrelationId] <- d: // never, if nobody waits
	default:
	}
}

// Close ends all questions, and waits for that while ctx lives.
func (a *Asker) Close(ctx context.Context) error {
	a.mu.Lock()
	requesters := slices.Collect(maps.Values(a.requesters))
	a.mu.Unlock() // which answers that still come need
	var errs []error
	for _, r := range requesters {
		errs = append(errs, r.Close(ctx))
	}
	return errors.Join(errs...)
}
