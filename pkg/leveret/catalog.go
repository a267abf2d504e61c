package leveret

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/pkg/topology"
)

// A Catalog is a system of services: what there is to send, and who serves it. It is immutable and safe for concurrent
// use.
type Catalog struct {
	services  []*Service
	contracts []Contract
	users     map[use][]*Service // without the name of a subscription
	err       error
}

// NewCatalog puts services together. It never fails; [Catalog.Err] reports what is wrong with them.
func NewCatalog(services ...*Service) *Catalog {
	c := &Catalog{
		services: slices.DeleteFunc(slices.Clone(services), func(s *Service) bool { return s == nil }),
		users:    make(map[use][]*Service),
	}
	slices.SortStableFunc(c.services, func(a, b *Service) int { return cmp.Compare(a.name, b.name) })
	var uses []use
	for _, s := range c.services {
		uses = append(uses, s.uses...)
		for _, u := range s.uses {
			at := use{role: u.role, contract: u.contract}
			if users := c.users[at]; len(users) == 0 || users[len(users)-1] != s { // it may have several subscriptions
				c.users[at] = append(users, s)
			}
		}
	}
	c.contracts = sorted(distinct(uses))
	errs := c.check()
	if len(c.services) < len(services) {
		errs = append(errs, errors.New("a service is nil"))
	}
	c.err = errors.Join(errs...)
	return c
}

// Err returns everything that is wrong with the services and contracts, all at once, in plain words; nil if nothing is.
// It validates the contracts' examples.
func (c *Catalog) Err() error {
	errs := []error{c.err}
	for _, contract := range c.contracts {
		errs = append(errs, baseOf(contract).exampleErr())
	}
	return errors.Join(errs...)
}

// Services returns the services in the order of their names.
func (c *Catalog) Services() []*Service { return slices.Clone(c.services) }

// Contracts returns the contracts in the order of their names.
func (c *Catalog) Contracts() []Contract { return slices.Clone(c.contracts) }

// Lookup finds a contract by its name.
func (c *Catalog) Lookup(name string) (Contract, bool) {
	i, ok := slices.BinarySearchFunc(c.contracts, name, func(c Contract, name string) int { return cmp.Compare(c.Spec().Name, name) })
	if !ok {
		return nil, false
	}
	return c.contracts[i], true
}

// ServicesWith returns the services that declared a contract in a role, in the order of their names.
func (c *Catalog) ServicesWith(contract Contract, role Role) []*Service {
	return slices.Clone(c.users[use{role: role, contract: contract}])
}

func (c *Catalog) check() []error {
	var errs []error
	for i, s := range c.services {
		errs = append(errs, s.ownErr(), s.checkNames(topology.Names{}))
		if i > 0 && c.services[i-1].name == s.name {
			errs = append(errs, fmt.Errorf("two services are named %q", s.name))
		}
	}
	for i, contract := range c.contracts {
		spec := contract.Spec()
		if i > 0 && c.contracts[i-1].Spec().Name == spec.Name {
			errs = append(errs, fmt.Errorf("two contracts are named %q: a name is what a message is known by on the wire", spec.Name))
		}
		errs = append(errs, baseOf(contract).wrong)
		errs = append(errs, c.checkServed(contract, spec)...)
	}
	errs = append(errs, checkForms(c.contracts)...)
	return append(errs, checkQueues(c.services...)...)
}

// checkForms finds exchanges and queues that two addresses declare in different forms: the first to come would decide.
func checkForms(contracts []Contract) []error {
	type declared struct{ form, by string }
	var errs []error
	first := make(map[string]declared)
	for _, c := range contracts {
		spec := c.Spec()
		check := func(what string, form any) {
			d := declared{fmt.Sprint(form), spec.Name}
			if other := cmp.Or(first[what], d); other.form != d.form {
				errs = append(errs, fmt.Errorf("the Topology of %q declares the %s in another form than that of %q", d.by, what, other.by))
			}
			first[what] = cmp.Or(first[what], d)
		}
		if spec.Address == nil {
			continue
		}
		for _, e := range spec.Address.Topology.Exchanges {
			check("exchange "+e.Name, e)
		}
		for _, q := range spec.Address.Topology.Queues {
			check("queue "+q.Name, q)
		}
	}
	return errs
}

// checkServed finds contracts that no service serves, or that a service other than the owner serves.
func (c *Catalog) checkServed(contract Contract, spec Spec) []error {
	role := spec.Kind.ServerRole()
	if spec.Kind == KindEvent { // belongs to the service that publishes it
		role = spec.Kind.SenderRole()
	}
	var errs []error
	servers := c.users[use{role: role, contract: contract}]
	if len(servers) == 0 && !spec.external() {
		errs = append(errs, fmt.Errorf("no service %s the %s %q", role, spec.Kind, spec.Name))
	}
	for _, s := range servers {
		if s.name != spec.Owner() && !spec.external() {
			errs = append(errs, fmt.Errorf("the service %q %s the %s %q, which belongs to the service %q by its name",
				s.name, role, spec.Kind, spec.Name, spec.Owner()))
		}
	}
	return errs
}
