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
	err       error
}

// NewCatalog puts services together. It never fails; [Catalog.Err] tells what is wrong with them.
func NewCatalog(services ...*Service) *Catalog {
	c := &Catalog{services: slices.DeleteFunc(slices.Clone(services), func(s *Service) bool { return s == nil })}
	slices.SortStableFunc(c.services, func(a, b *Service) int { return cmp.Compare(a.name, b.name) })
	for _, s := range c.services {
		for _, u := range s.uses {
			if !slices.Contains(c.contracts, u.contract) {
				c.contracts = append(c.contracts, u.contract)
			}
		}
	}
	slices.SortStableFunc(c.contracts, func(a, b Contract) int { return cmp.Compare(a.Spec().Name, b.Spec().Name) })
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
		errs = append(errs, exampleErr(contract))
	}
	return errors.Join(errs...)
}

// Services returns the services in the order of their names.
func (c *Catalog) Services() []*Service { return slices.Clone(c.services) }

// Contracts returns the contracts in the order of their names.
func (c *Catalog) Contracts() []Contract { return slices.Clone(c.contracts) }

// Lookup finds a contract by its name.
func (c *Catalog) Lookup(name string) (Contract, bool) {
	i := slices.IndexFunc(c.contracts, func(have Contract) bool { return have.Spec().Name == name })
	if i < 0 {
		return nil, false
	}
	return c.contracts[i], true
}

// ServicesWith returns the services that declared a contract in a role.
func (c *Catalog) ServicesWith(contract Contract, role Role) []*Service {
	return slices.DeleteFunc(slices.Clone(c.services), func(s *Service) bool {
		return !slices.ContainsFunc(s.uses, func(u use) bool { return u.contract == contract && u.role == role })
	})
}

func (c *Catalog) check() []error {
	var errs []error
	var all topology.Topology
	for i, s := range c.services {
		errs = append(errs, s.ownErr())
		all.Add(s.Topology(topology.Names{}, "classic"))
		if i > 0 && c.services[i-1].name == s.name {
			errs = append(errs, fmt.Errorf("two services are named %q", s.name))
		}
	}
	for i, contract := range c.contracts {
		spec := contract.Spec()
		if i > 0 && c.contracts[i-1].Spec().Name == spec.Name {
			errs = append(errs, fmt.Errorf("two contracts are named %q: a name is what a message is known by on the wire", spec.Name))
		}
		errs = append(errs, contractErr(contract))
		errs = append(errs, c.checkServed(contract, spec)...)
	}
	errs = append(errs, checkQueues(c.services...)...)
	return append(errs, checkNames(all))
}

// checkServed finds contracts that nobody serves, or that somebody else than their owner does.
func (c *Catalog) checkServed(contract Contract, spec Spec) []error {
	role := spec.Kind.ServerRole()
	if spec.Kind == KindEvent { // belongs to the service that publishes it
		role = spec.Kind.SenderRole()
	}
	var errs []error
	servers := c.ServicesWith(contract, role)
	external := spec.Address != nil && spec.Address.External
	if len(servers) == 0 && !external {
		errs = append(errs, fmt.Errorf("no service %s the %s %q", role, spec.Kind, spec.Name))
	}
	for _, s := range servers {
		if s.name != spec.Owner() && !external {
			errs = append(errs, fmt.Errorf("the service %q %s the %s %q, which belongs to the service %q by its name",
				s.name, role, spec.Kind, spec.Name, spec.Owner()))
		}
	}
	return errs
}
