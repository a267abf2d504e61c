package leveret

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// A Service says who talks with whom: which contracts a service sends, and which it serves. From services and their
// contracts follow topology, permissions and documents. A Service is immutable and safe for concurrent use.
type Service struct {
	name string
	uses []use
	errs []error
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
)

// String returns the verb: "handles", "subscribes to", …
func (r Role) String() string {
	return [...]string{"?", "handles", "subscribes to", "answers", "sends", "publishes", "calls"}[r]
}

func (r Role) serves() bool { return r <= RoleAnswers }

func (r Role) kind() Kind {
	switch r {
	case RoleHandles, RoleSends:
		return KindCommand
	case RoleSubscribes, RolePublishes:
		return KindEvent
	default:
		return KindRequest
	}
}

// use is one contract in one role.
type use struct {
	role     Role
	contract Contract
	name     string // of the subscription, where a service has several to one event
}

// A ServiceOption declares some of what a service does.
type ServiceOption func(*Service)

// NewService declares a service. The name is one segment: lower-case letters, digits and hyphens. NewService never
// fails: mistakes are reported by [NewCatalog], [NewClient] and [NewWorker].
func NewService(name string, options ...ServiceOption) *Service {
	s := &Service{name: name}
	if !serviceName.MatchString(name) || len(name) > 63 {
		s.errs = append(s.errs, errors.New("the name must be lower-case letters, digits and hyphens, 63 at most"))
	}
	for _, o := range options {
		o(s)
	}
	return s
}

var serviceName = regexp.MustCompile(`^[a-z0-9-]+$`)

// Handles declares the commands that the service takes.
func Handles(commands ...Contract) ServiceOption { return uses(RoleHandles, "", commands) }

// SubscribesTo declares the events that the service listens to.
func SubscribesTo(events ...Contract) ServiceOption { return uses(RoleSubscribes, "", events) }

// SubscribesAs declares a named subscription, beside the plain one or others. See [As].
func SubscribesAs(name string, events ...Contract) ServiceOption {
	return uses(RoleSubscribes, name, events)
}

// Answers declares the requests that the service answers.
func Answers(requests ...Contract) ServiceOption { return uses(RoleAnswers, "", requests) }

// Sends declares the commands that the service sends.
func Sends(commands ...Contract) ServiceOption { return uses(RoleSends, "", commands) }

// Publishes declares the events that the service publishes.
func Publishes(events ...Contract) ServiceOption { return uses(RolePublishes, "", events) }

// Calls declares the requests that the service makes.
func Calls(requests ...Contract) ServiceOption { return uses(RoleCalls, "", requests) }

func uses(role Role, name string, contracts []Contract) ServiceOption {
	return func(s *Service) {
		for _, c := range contracts {
			s.add(use{role, c, name})
		}
	}
}

func (s *Service) add(u use) {
	if u.contract == nil {
		s.errs = append(s.errs, fmt.Errorf("%s a nil contract: package variables are initialised in the order of their dependencies, "+
			"so it was assigned later, or never", u.role))
		return
	}
	spec := u.contract.Spec()
	if spec.Kind != u.role.kind() {
		s.errs = append(s.errs, fmt.Errorf("%s %s, which is a %s, not a %s", u.role, spec.Name, spec.Kind, u.role.kind()))
		return
	}
	if u.name != "" && !serviceName.MatchString(u.name) {
		s.errs = append(s.errs, fmt.Errorf("%s %s as %q: a subscription's name must be lower-case letters, digits and hyphens",
			u.role, spec.Name, u.name))
		return
	}
	if slices.ContainsFunc(s.uses, func(have use) bool {
		return have.role == u.role && have.name == u.name && have.contract.Spec().Name == spec.Name
	}) {
		s.errs = append(s.errs, fmt.Errorf("%s %s twice", u.role, spec.Name))
		return
	}
	s.uses = append(s.uses, u)
}

// Name returns the service's name.
func (s *Service) Name() string { return s.name }

// Contracts returns the contracts that the service declared in a role, in the order of their names.
func (s *Service) Contracts(role Role) []Contract {
	var found []Contract
	for _, u := range s.uses {
		if u.role == role && !slices.Contains(found, u.contract) {
			found = append(found, u.contract)
		}
	}
	slices.SortFunc(found, func(a, b Contract) int { return cmp.Compare(a.Spec().Name, b.Spec().Name) })
	return found
}

// serves returns the uses that need a handler.
func (s *Service) serves() []use {
	return slices.DeleteFunc(slices.Clone(s.uses), func(u use) bool { return !u.role.serves() })
}

// sends tells whether the service declared that it sends, publishes or calls c.
func (s *Service) sends(c Contract) bool {
	return slices.ContainsFunc(s.uses, func(u use) bool { return u.contract == c && !u.role.serves() })
}

// err returns all that is wrong with the service and with the contracts that it uses.
func (s *Service) err() error {
	errs := slices.Clone(s.errs)
	seen := map[Contract]bool{}
	for _, u := range s.uses {
		if c, ok := u.contract.(checked); ok && !seen[u.contract] {
			errs = append(errs, c.err())
		}
		seen[u.contract] = true
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("service %q: %w", s.name, err)
	}
	return nil
}
