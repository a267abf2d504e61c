package leveret

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Service says who talks with whom: which contracts a service sends, and which it serves. From services and their
// contracts follow topology, permissions and documents. A Service is immutable and safe for concurrent use.
type Service struct {
	name  string
	uses  []use
	used  map[use]bool
	named map[string]Contract // those that it uses
	// remembers is how long it recognises what it has handled; 0 if it does not say.
	remembers time.Duration
	errs      []error
}

// A Role is what a service does with a contract.
type Role uint8

// The roles.
const (
	RoleHandles Role = iota + 1 // takes a command
	RoleSubscribes
	RoleAnswers
	RoleSends
	RolePublishes
	RoleCalls
	RoleReads // a kept event
)

// String returns the verb: "handles", "subscribes to" and so on.
func (r Role) String() string {
	if r > RoleReads {
		return "?"
	}
	return [...]string{"?", "handles", "subscribes to", "answers", "sends", "publishes", "calls", "reads"}[r]
}

func (r Role) serves() bool { return r <= RoleAnswers }

func (r Role) sends() bool { return r >= RoleSends && r <= RoleCalls }

func (r Role) kind() Kind {
	if r == RoleReads {
		return KindEvent
	}
	return Kind((r-1)%3) + KindCommand // the others are in the order of kinds
}

// use is one contract in one role.
type use struct {
	role     Role
	contract Contract
	name     string // of the subscription, where a service has several to one event
}

// works reports whether the service takes messages that may be tried again.
func (u use) works() bool {
	spec := u.contract.Spec()
	return u.role <= RoleSubscribes && !spec.exclusive(u.name)
}

// A ServiceOption declares some of what a service does.
type ServiceOption func(*Service)

// NewService declares a service. The name is one segment: lower-case letters, digits and hyphens. NewService never
// fails: mistakes are reported by [NewCatalog], [NewClient] and [NewWorker].
func NewService(name string, options ...ServiceOption) *Service {
	s := &Service{name: name, used: make(map[use]bool), named: make(map[string]Contract)}
	if !serviceName.MatchString(name) || len(name) > maxSegment {
		s.errs = append(s.errs, fmt.Errorf("the name must be lower-case letters, digits and hyphens, %d at most", maxSegment))
	}
	s.errs = append(s.errs, reservedOwner(name))
	for _, o := range options {
		o(s)
	}
	return s
}

// maxSegment is the length of a service's name, and of a subscription's, in bytes.
const maxSegment = 63

// maxInstance is the length of a process's instance, in bytes.
const maxInstance = 100

var serviceName = regexp.MustCompile(`^[a-z0-9-]+$`)

// Handles declares the commands that the service takes.
func Handles(commands ...Contract) ServiceOption { return uses(RoleHandles, "", commands) }

// SubscribesTo declares the events that the service listens to.
func SubscribesTo(events ...Contract) ServiceOption { return uses(RoleSubscribes, "", events) }

// SubscribesAs declares a named subscription, beside the plain one or others. See [As]. The name "per-process" stands for
// [SubscribesPerProcess].
func SubscribesAs(name string, events ...Contract) ServiceOption {
	return uses(RoleSubscribes, name, events)
}

// SubscribesPerProcess declares that every process of the service gets every one of these events, beside its other
// subscriptions: see [PerProcess]. Each process has a queue of its own, which goes with it. So it gets what is published while
// it is connected; [OnFresh] says when it may have missed something. There are no retries and no dead letters: an event whose
// handler fails is logged, counted as [VerdictDropped], and gone.
func SubscribesPerProcess(events ...Contract) ServiceOption {
	return uses(RoleSubscribes, topology.PerProcess, events)
}

// Answers declares the requests that the service answers.
func Answers(requests ...Contract) ServiceOption { return uses(RoleAnswers, "", requests) }

// Sends declares the commands that the service sends.
func Sends(commands ...Contract) ServiceOption { return uses(RoleSends, "", commands) }

// Publishes declares the events that the service publishes.
func Publishes(events ...Contract) ServiceOption { return uses(RolePublishes, "", events) }

// Calls declares the requests that the service makes.
func Calls(requests ...Contract) ServiceOption { return uses(RoleCalls, "", requests) }

// Reads declares the kept events that the service reads from their streams, with a projection: see package stream. They need
// the option [Kept].
func Reads(events ...Contract) ServiceOption { return uses(RoleReads, "", events) }

// Forever is for [Remembers].
const Forever = time.Duration(math.MaxInt64)

// Remembers declares how long the service recognises a message that it has handled, by its id or by what it says, so that
// handling it again has no further effect; [Forever], if it always does. It is a promise of the handlers and of their store for
// all events that the service subscribes to. Tools that copy kept events to a running service need it: they copy none that is older.
func Remembers(d time.Duration) ServiceOption {
	return func(s *Service) {
		switch {
		case d <= 0:
			s.errs = append(s.errs, fmt.Errorf("Remembers: %v must be positive", d))
		case s.remembers != 0:
			s.errs = append(s.errs, errors.New("Remembers is given twice"))
		}
		s.remembers = d
	}
}

func uses(role Role, name string, contracts []Contract) ServiceOption {
	return func(s *Service) {
		for _, c := range contracts {
			s.errs = append(s.errs, s.add(use{role, c, name}))
		}
	}
}

// add adds a use, or returns why the service cannot have it.
func (s *Service) add(u use) error {
	if isNil(u.contract) {
		return fmt.Errorf("%s a nil contract: package variables are initialised in the order of their dependencies, "+
			"so it was assigned later, or never", u.role)
	}
	spec := u.contract.Spec()
	this := u.role.String() + " " + spec.Name + as(u.name)
	switch a := spec.Address; {
	case spec.Kind != u.role.kind():
		return fmt.Errorf("%s, which is %s, not %s", this, article(spec.Kind.String()), article(u.role.kind().String()))
	case u.name != "" && (!serviceName.MatchString(u.name) || len(u.name) > maxSegment):
		return fmt.Errorf("%s: a subscription's name must be lower-case letters, digits and hyphens, %d at most", this, maxSegment)
	case s.twin(u.contract) != nil:
		return fmt.Errorf("%s: there are two contracts named %q, and the service uses both", this, spec.Name)
	case s.used[u]:
		return fmt.Errorf("%s twice", this)
	case u.name == topology.PerProcess && spec.external() && a.Exchange == "":
		return fmt.Errorf("%s, but its address names no exchange to which a process could bind its queue", this)
	case u.name == topology.PerProcess && spec.external() && a.RoutingKey == "" && len(spec.processBindings()) == 0 && a.keyed():
		return fmt.Errorf("%s, but its address has neither a RoutingKey nor Bindings without a queue: nothing would arrive", this)
	case u.name != topology.PerProcess && spec.external() && a.Queue == "" && u.role.serves() && (a.Exchange != "" || a.RoutingKey == ""):
		return fmt.Errorf("%s, whose address names no queue to take it from", this)
	case u.role == RoleReads && spec.Kept == nil:
		return fmt.Errorf("%s, which is not kept: the contract needs the option Kept", this)
	case a != nil && u.role.sends() && spec.RoutingKey == nil && pattern(a.RoutingKey):
		return fmt.Errorf("%s under %q, which is a pattern: the contract needs the option RoutingKey", this, a.RoutingKey)
	}
	s.uses = append(s.uses, u)
	s.used[u], s.named[spec.Name] = true, u.contract
	return nil
}

// keyed reports whether the exchange of an address is known to hand out messages by their keys.
func (a *Address) keyed() bool {
	return slices.ContainsFunc(a.Topology.Exchanges, func(e topology.Exchange) bool {
		return e.Name == a.Exchange && (e.Type == topology.Direct || e.Type == topology.Topic)
	})
}

// twin returns an error if the service declared another contract of the same name.
func (s *Service) twin(c Contract) error {
	if isNil(c) {
		return nil
	}
	name := c.Spec().Name
	if other := s.named[name]; other == nil || other == c {
		return nil
	}
	return withCode("%w: there are two contracts named %q: use the one that the service %q declares", ErrUndeclared, name, s.name)
}

// Undeclared returns the error of using a contract in a role that the service did not declare: an [ErrUndeclared], for
// transports.
func (s *Service) Undeclared(c Contract, role Role) error {
	return cmp.Or(s.twin(c), withCode("%w: the service %q does not say that it %s %s", ErrUndeclared, s.name, role, nameOf(c)))
}

// Name returns the service's name.
func (s *Service) Name() string { return s.name }

// Remembers returns what the service declared with [Remembers]; 0 if it does not say.
func (s *Service) Remembers() time.Duration { return s.remembers }

// Contracts returns the contracts that the service declared in a role, in the order of their names.
func (s *Service) Contracts(role Role) []Contract {
	return sorted(distinct(slices.DeleteFunc(slices.Clone(s.uses), func(u use) bool { return u.role != role })))
}

// distinct returns the contracts of uses, each once.
func distinct(uses []use) []Contract {
	var found []Contract
	seen := make(map[Contract]bool, len(uses))
	for _, u := range uses {
		if !seen[u.contract] {
			seen[u.contract] = true
			found = append(found, u.contract)
		}
	}
	return found
}

// sorted sorts contracts by their names.
func sorted(contracts []Contract) []Contract {
	slices.SortStableFunc(contracts, func(a, b Contract) int { return cmp.Compare(a.Spec().Name, b.Spec().Name) })
	return contracts
}

// serves returns the uses that need a handler.
func (s *Service) serves() []use {
	return slices.DeleteFunc(slices.Clone(s.uses), func(u use) bool { return !u.role.serves() })
}

// Err returns all that is wrong with the service and with the contracts that it uses, in plain words; nil if nothing
// is.
func (s *Service) Err() error {
	errs := []error{s.ownErr()}
	for _, c := range distinct(s.uses) {
		errs = append(errs, baseOf(c).wrong, baseOf(c).exampleErr())
	}
	errs = append(errs, checkQueues(s)...)
	return errors.Join(errs...)
}

// ownErr returns what is wrong with the service itself.
func (s *Service) ownErr() error {
	return about(fmt.Sprintf("service %q", s.name), s.errs)
}

// checkQueues finds queues that would be two things at once: each of two consumers would get a part of the messages.
func checkQueues(services ...*Service) []error {
	var errs []error
	var n topology.Names
	taken := make(map[string]string)
	shared := make(map[string][]*Spec) // by service and queue
	hint := ""
	take := func(queue, what string) (free bool) {
		if other := cmp.Or(taken[queue], what); other != what {
			errs = append(errs, fmt.Errorf("the queue %q would be used for %s and for %s%s", queue, other, what, hint))
			return false
		}
		taken[queue] = what
		return true
	}
	takeFailing(take, services)
	takeKept(take, services)
	for _, s := range services {
		for _, u := range s.serves() {
			spec := u.contract.Spec()
			what := fmt.Sprintf("the %s %q", spec.Kind, spec.Name)
			if spec.Kind == KindEvent || spec.external() {
				what += fmt.Sprintf(" to the service %q", s.name) + as(u.name)
			}
			queue := QueueName(n, u.contract, s.name, u.name)
			mates := shared[s.name+" "+queue]
			shared[s.name+" "+queue] = append(mates, &spec)
			hint = ""
			if len(mates) > 0 {
				switch i := slices.IndexFunc(mates, func(m *Spec) bool { return !m.apart(&spec) }); {
				case i >= 0 && spec.Address != nil && mates[i].Name != spec.Name && (mates[i].Kind == KindRequest) == (spec.Kind == KindRequest):
					hint = ", whose messages cannot be told apart: in their addresses, each needs a Type of its own, or a value of its own for " +
						"one header in Headers; or, without both, a RoutingKey that no contract before it covers"
				case i < 0 && mates[0].deadLetters(n, queue, u.name) != spec.deadLetters(n, queue, u.name):
					errs = append(errs, fmt.Errorf("the queue %q would have dead letters in %q by %q, and in %q by %q: name one DeadLetterQueue",
						queue, mates[0].deadLetters(n, queue, u.name), mates[0].Name, spec.deadLetters(n, queue, u.name), spec.Name))
					continue
				case i < 0:
					continue // each message says which of them it is
				}
			}
			switch free := take(queue, what); {
			case free && spec.givenUp(u.name) == VerdictReject: // of several queues, perhaps
				take(spec.Address.DeadLetterQueue, "dead letters")
			case free && u.works():
				take(n.DeadLetterQueue(queue), "the dead letters of "+what)
			}
		}
	}
	return errs
}

// takeFailing takes the queues that services need for what fails, in both layouts, so that a system can change to the
// other one.
func takeFailing(take func(queue, what string) bool, services []*Service) {
	const lost = "retries that found no queue"
	take(topology.Names{}.RetryLost(""), lost)
	for _, s := range services {
		for _, u := range s.serves() {
			if !u.works() {
				continue
			}
			take(topology.Names{}.Quarantine(s.name), fmt.Sprintf("the quarantine of the service %q", s.name))
			for _, n := range []topology.Names{{Layout: topology.Shared}, {Layout: topology.Isolated}} {
				take(n.RetryLost(s.name), lost)
				for _, d := range u.contract.Spec().Retry.Delays {
					take(n.RetryTier(s.name, d), "retries after "+d.String())
				}
			}
		}
	}
}

// takeKept takes the streams of the kept events that services publish or read.
func takeKept(take func(queue, what string) bool, services []*Service) {
	for _, s := range services {
		for _, c := range append(s.Contracts(RolePublishes), s.Contracts(RoleReads)...) {
			if spec := c.Spec(); spec.Kept != nil {
				take(topology.Names{}.KeptStream(spec.Name), fmt.Sprintf("the kept event %q", spec.Name))
			}
		}
	}
}
