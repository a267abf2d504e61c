package compat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Format is the format of the lock files that this version writes, and the newest that it reads.
const Format = 1

// A Lock is the record of all contracts and services of a catalog. Names of exchanges and queues are those without a
// namespace, in the shared layout.
type Lock struct {
	Format    int        `json:"format"`
	Contracts []Contract `json:"contracts"`
	Services  []Service  `json:"services"`
}

// A Contract is one contract in a Lock.
type Contract struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	Owner string `json:"owner"`
	Route Route  `json:"route"`
	// Queues are those from which services take the messages, sorted by name.
	Queues []Queue `json:"queues"`

	// Attempts, Delays and RetryOn are of commands and events.
	Attempts int      `json:"attempts,omitempty"`
	Delays   []string `json:"delays,omitempty"`
	RetryOn  []string `json:"retry_on,omitempty"`

	// Kept is of an event that is kept.
	Kept *Kept `json:"kept,omitempty"`

	// TimeoutMS, Idempotent and HTTP are of requests.
	TimeoutMS  int64  `json:"timeout_ms,omitempty"`
	Idempotent bool   `json:"idempotent,omitempty"`
	HTTP       string `json:"http,omitempty"`

	// ContentType says how payload and reply travel; empty for JSON.
	ContentType string `json:"content_type,omitempty"`
	// Payload and Reply are JSON Schemas, of the JSON that people read where they travel in another form.
	Payload json.RawMessage `json:"payload"`
	Reply   json.RawMessage `json:"reply,omitempty"`
}

// A Route is where the messages of a contract are published.
type Route struct {
	Exchange   string `json:"exchange"` // empty: the default one
	Type       string `json:"type"`
	RoutingKey string `json:"routing_key"`
	// External says that exchange and queue belong to somebody else.
	External bool `json:"external,omitempty"`
	// MessageType is the AMQP type of the messages, where it is not the contract's name; "-" if they have none.
	MessageType string `json:"message_type,omitempty"`
	// Headers are those that the address sets on the messages.
	Headers map[string]string `json:"headers,omitempty"`
}

// Kept is how long, and up to how many bytes, an event is kept.
type Kept struct {
	Age   string `json:"age"`
	Bytes int64  `json:"bytes"`
}

// A Queue is a queue from which a service takes messages.
type Queue struct {
	Name         string `json:"name"`
	Service      string `json:"service"`
	Subscription string `json:"subscription,omitempty"`
	// Exclusive says that each process has such a queue of its own, or that one process alone has it. The name of the
	// former ends in *.
	Exclusive bool `json:"exclusive,omitempty"`
	// Args are the arguments with which it is declared; nil for a queue that belongs to somebody else. The type of a
	// request's queue is a setting, and not among them.
	Args map[string]any `json:"args,omitempty"`
	// DeadLetters is the queue in which failed messages end, where it is somebody else's.
	DeadLetters string `json:"dead_letters,omitempty"`
}

// A Service is one service in a Lock, with the names of the contracts that it has each role in. A named subscription is
// "oven.baked as bell".
type Service struct {
	Name       string   `json:"name"`
	Handles    []string `json:"handles,omitempty"`
	Answers    []string `json:"answers,omitempty"`
	Subscribes []string `json:"subscribes,omitempty"`
	Sends      []string `json:"sends,omitempty"`
	Calls      []string `json:"calls,omitempty"`
	Publishes  []string `json:"publishes,omitempty"`
	Reads      []string `json:"reads,omitempty"`
}

// Of records a catalog. It fails if the schema of a payload cannot be made.
func Of(catalog *leveret.Catalog) (*Lock, error) {
	l := &Lock{Format: Format, Contracts: []Contract{}, Services: []Service{}}
	queues := map[string][]Queue{}
	for _, s := range catalog.Services() {
		l.Services = append(l.Services, serviceOf(s))
		declared := argsOf(s)
		for _, q := range s.WorkQueues(topology.Names{}) {
			name := q.Contract.Spec().Name
			queue := Queue{Name: q.Name, Service: s.Name(), Subscription: q.Subscription, Exclusive: q.Exclusive, Args: declared[q.Name]}
			if a := q.Contract.Spec().Address; a != nil && a.DeadLetterQueue != "" { // whatever its name is; empty per process
				queue.DeadLetters = q.DeadLetters
			}
			queues[name] = append(queues[name], queue)
		}
	}
	for _, c := range catalog.Contracts() {
		contract, err := contractOf(c.Spec())
		if err != nil {
			return nil, err
		}
		contract.Queues = append(contract.Queues, queues[contract.Name]...)
		slices.SortFunc(contract.Queues, func(a, b Queue) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Service, b.Service)) })
		l.Contracts = append(l.Contracts, contract)
	}
	return l, nil
}

// argsOf returns the arguments of the queues that a service declares, by their names.
func argsOf(s *leveret.Service) map[string]map[string]any {
	args := map[string]map[string]any{}
	for _, q := range s.Topology(topology.Names{}, "").Queues {
		args[q.Name] = q.Args
		if q.Args["x-queue-type"] == "" { // which we left open
			delete(q.Args, "x-queue-type")
		}
	}
	return args
}

func serviceOf(s *leveret.Service) Service {
	names := func(role leveret.Role) []string {
		var all []string
		for _, c := range s.Contracts(role) {
			all = append(all, c.Spec().Name)
		}
		return all
	}
	var subscribes []string
	for _, q := range s.WorkQueues(topology.Names{}) {
		if spec := q.Contract.Spec(); spec.Kind == leveret.KindEvent {
			subscribes = append(subscribes, spec.Name+as(q.Subscription))
		}
	}
	slices.Sort(subscribes)
	return Service{
		Name: s.Name(), Handles: names(leveret.RoleHandles), Answers: names(leveret.RoleAnswers), Subscribes: subscribes,
		Sends: names(leveret.RoleSends), Calls: names(leveret.RoleCalls), Publishes: names(leveret.RolePublishes),
		Reads: names(leveret.RoleReads),
	}
}

func contractOf(spec leveret.Spec) (Contract, error) {
	exchange, routingKey := spec.Route(topology.Names{})
	external := spec.Address != nil && spec.Address.External
	if external { // which type it has is not ours to change
		exchange.Type = ""
	}
	c := Contract{
		Name: spec.Name, Kind: spec.Kind.String(), Owner: spec.Owner(),
		Route: Route{
			Exchange: exchange.Name, Type: exchange.Type, RoutingKey: routingKey,
			External: external,
		},
		Queues: []Queue{}, TimeoutMS: spec.Timeout.Milliseconds(), Idempotent: spec.Idempotent, HTTP: spec.HTTP,
	}
	if spec.Address != nil {
		c.Route.Headers = spec.Address.Headers
		if spec.Address.Type != spec.Name {
			c.Route.MessageType = spec.Address.Type
		}
	}
	if spec.Codec != nil {
		c.ContentType = spec.ContentType()
	}
	if spec.Kind != leveret.KindRequest {
		c.Attempts = spec.Retry.Attempts
		for _, d := range spec.Retry.Delays {
			c.Delays = append(c.Delays, d.String())
		}
		for _, code := range spec.RetryOn {
			c.RetryOn = append(c.RetryOn, code.String())
		}
		slices.Sort(c.RetryOn)
	}
	if k := spec.Kept; k != nil {
		c.Kept = &Kept{k.Age.String(), k.Bytes}
	}
	var err error
	if c.Payload, err = textOf(schema.Payload(spec)); err == nil && spec.Reply != nil {
		c.Reply, err = textOf(schema.Reply(spec))
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", spec.Name, err)
	}
	return c, nil
}

func textOf(s *schema.Schema, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return s.JSON(), nil
}

// Encode returns the lock as it is kept in a file: indented JSON that is the same for the same contracts.
func (l *Lock) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(l); err != nil {
		return nil, fmt.Errorf("the lock file: %w", err)
	}
	return b.Bytes(), nil
}
