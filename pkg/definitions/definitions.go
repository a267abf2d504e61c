package definitions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Options say what to derive. The zero value of a field is its default.
type Options struct {
	// Names makes the names of exchanges and queues, as in the services' own configuration: a namespace, and the layout.
	Names topology.Names
	// RequestQueueType is that of the services. Default [topology.Classic].
	RequestQueueType topology.QueueType
	// ReplyQueue says that callers collect replies in queues of their own: see leveret.ClientConfig. In the isolated
	// layout they always do.
	ReplyQueue bool
	// VirtualHost is where everything is. Default "/".
	VirtualHost string
	// UserPrefix begins the names of all users, which are those of the services: users are a broker's, not a virtual
	// host's. Default: the namespace and a dot, if there is one.
	UserPrefix string
	// Operator is the user of people who look at queues, and replay or remove dead letters. It has the tag monitoring.
	// Default "operator".
	Operator string
	// Password returns the password of a service's or the operators' user. Default: they have none, and cannot log in with
	// one.
	Password func(user string) (string, error)
	// Administrator, if set, is a user who may do everything, with the tag administrator and this password. A broker that
	// starts with definitions makes no default user. UserPrefix does not apply.
	Administrator, AdministratorPassword string
}

// Definitions are what RabbitMQ loads. Everything is sorted by name, so that two of one system can be compared.
type Definitions struct {
	VHosts      []VHost      `json:"vhosts"`
	Users       []User       `json:"users"`
	Permissions []Permission `json:"permissions"`
	Exchanges   []Exchange   `json:"exchanges"`
	Queues      []Queue      `json:"queues"`
	Bindings    []Binding    `json:"bindings"`

	// Shortened are the users with a pattern that reaches more than the names it stands for, since it would be too long.
	Shortened []string `json:"-"`
}

// A VHost is a virtual host.
type VHost struct {
	Name string `json:"name"`
}

// A User is one who may log in.
type User struct {
	Name string `json:"name"`
	// PasswordHash is that of [Hash]; empty for a user without a password.
	PasswordHash     string   `json:"password_hash"`
	HashingAlgorithm string   `json:"hashing_algorithm"`
	Tags             []string `json:"tags"`
}

// A Permission is what a user may do in a virtual host: three regular expressions, which the names of exchanges and
// queues match. All are anchored, none is longer than [MaxPattern].
type Permission struct {
	User      string `json:"user"`
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// An Exchange is an exchange that exists before any service runs.
type Exchange struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
}

// A Queue is a queue that exists before any service runs.
type Queue struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Arguments  map[string]any `json:"arguments"`
}

// A Binding brings the messages of an exchange to a queue.
type Binding struct {
	Source          string         `json:"source"`
	VHost           string         `json:"vhost"`
	Destination     string         `json:"destination"`
	DestinationType string         `json:"destination_type"`
	RoutingKey      string         `json:"routing_key"`
	Arguments       map[string]any `json:"arguments"`
}

// Of derives the definitions of a system. It fails if something is wrong with the catalog, or with the name of a user;
// if a user's permissions would reach more than the contracts say, because the name of a service is that of a kind of
// exchange, for instance; and if a password cannot be had, which is asked for when all else is right.
func Of(c *leveret.Catalog, o Options) (*Definitions, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	o.VirtualHost, o.Operator = cmp.Or(o.VirtualHost, "/"), cmp.Or(o.Operator, "operator")
	o.RequestQueueType = cmp.Or(o.RequestQueueType, topology.Classic)
	if o.UserPrefix == "" && o.Names.Namespace != "" {
		o.UserPrefix = o.Names.Namespace + "."
	}
	t := o.topology(c)
	d := &Definitions{VHosts: []VHost{{Name: o.VirtualHost}}}
	d.declare(t, o.VirtualHost)
	users := make([]*user, 0, len(c.Services())+1)
	for _, s := range c.Services() {
		if s.Name() == operator.Name {
			return nil, fmt.Errorf("the service %q has the name of the operators' reply queues: rename it", s.Name())
		}
		users = append(users, o.service(s))
	}
	users = append(users, o.operator(c))
	var errs []error
	for _, u := range users {
		p, shortened, err := u.permission(o)
		if err == nil {
			err = u.check(p, t, users)
		}
		errs = append(errs, err, d.checkUser(p.User))
		d.Permissions = append(d.Permissions, p)
		if shortened {
			d.Shortened = append(d.Shortened, p.User)
		}
	}
	if o.Administrator != "" {
		errs = append(errs, d.checkUser(o.Administrator))
		d.Permissions = append(d.Permissions, Permission{o.Administrator, o.VirtualHost, ".*", ".*", ".*"})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, u := range users { // nothing is made for what is wrong
		if err := d.addUser(o.UserPrefix+u.name, o.Password, u.tags...); err != nil {
			return nil, err
		}
	}
	if o.Administrator != "" {
		err := d.addUser(o.Administrator, func(string) (string, error) { return o.AdministratorPassword, nil }, "administrator")
		return d, err
	}
	return d, nil
}

// topology is everything that the services declare when they may.
func (o Options) topology(c *leveret.Catalog) topology.Topology {
	var t topology.Topology
	for _, s := range c.Services() {
		t.Add(s.Topology(o.Names, o.RequestQueueType))
	}
	return t
}

func (d *Definitions) declare(t topology.Topology, vhost string) {
	for _, e := range t.Exchanges {
		d.Exchanges = append(d.Exchanges, Exchange{e.Name, vhost, e.Type, !e.Transient, e.AutoDelete, e.Internal, table(e.Args)})
	}
	for _, q := range t.Queues {
		d.Queues = append(d.Queues, Queue{q.Name, vhost, !q.Transient, q.AutoDelete, table(q.Args)})
	}
	for _, b := range t.Bindings {
		d.Bindings = append(d.Bindings, Binding{b.Exchange, vhost, b.Queue, "queue", b.RoutingKey, table(b.Args)})
	}
	slices.SortFunc(d.Exchanges, func(a, b Exchange) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Queues, func(a, b Queue) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Bindings, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.RoutingKey, b.RoutingKey))
	})
}

// table returns arguments as RabbitMQ wants them: an object, never null.
func table(args map[string]any) map[string]any {
	if args == nil {
		return map[string]any{}
	}
	return args
}

// permission returns the permission of a user.
func (u *user) permission(o Options) (p Permission, shortened bool, err error) {
	p.User, p.VHost = o.UserPrefix+u.name, o.VirtualHost
	var errs []error
	for _, right := range []struct {
		names   names
		pattern *string
	}{{u.configure, &p.Configure}, {u.write, &p.Write}, {u.read, &p.Read}} {
		pattern, err := right.names.pattern(u.folds)
		if *right.pattern = pattern; err != nil {
			errs = append(errs, fmt.Errorf("the user %q: %w", p.User, err))
		}
		shortened = shortened || pattern != right.names.exact()
	}
	return p, shortened, errors.Join(errs...)
}

// checkUser returns what is wrong with the name of a user.
func (d *Definitions) checkUser(name string) error {
	switch {
	case slices.ContainsFunc(d.Permissions, func(other Permission) bool { return other.User == name }):
		return fmt.Errorf("two users would have the name %q: a service's, and the operators' or the administrator's; rename one of the latter", name)
	case !userName.MatchString(name):
		return fmt.Errorf("a user cannot have the name %.100q: it must be letters, digits and any of . _ @ + -, 255 at most", name)
	}
	return nil
}

var userName = regexp.MustCompile(`^[\p{L}\p{N}._@+-]{1,255}$`)

func (d *Definitions) addUser(name string, passwordOf func(string) (string, error), tags ...string) error {
	u := User{Name: name, HashingAlgorithm: hashingAlgorithm, Tags: append([]string{}, tags...)}
	if passwordOf != nil {
		password, err := passwordOf(name)
		if err != nil {
			return fmt.Errorf("the password of %q: %w", name, err)
		}
		u.PasswordHash = Hash(password)
	}
	d.Users = append(d.Users, u)
	return nil
}

// Encode returns the definitions as indented JSON.
func (d *Definitions) Encode() ([]byte, error) {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return text.Bytes(), err
}
