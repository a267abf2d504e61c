package definitions_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/definitions"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/shop/notify"
	"github.com/leveretmq/leveret/pkg/topology"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) {
	testmain.NoSettings()
	testmain.Waiting(8)
	testmain.Leaks(m)
}

const patience = 2 * time.Minute

// shop is the whole shop, with what only listens, and what only reads.
var shop = leveret.NewCatalog(append(queues.Catalog.Services(), notify.Declaration,
	leveret.NewService("archive", leveret.Reads(queues.OrderPlaced)))...)

// system is a virtual host with what was derived from a catalog, and its users.
type system struct {
	t           *testing.T
	catalog     *leveret.Catalog
	names       topology.Names
	broker      string // the administrator's address
	prefix      string // begins the names of the users
	definitions *definitions.Definitions
}

const operatorUser = "operator"

// derive derives what is loaded into a virtual host of the test's own. Users are a broker's: here they have random
// names.
func derive(t *testing.T, c *leveret.Catalog, layout topology.Layout) *system {
	t.Helper()
	s := &system{t: t, catalog: c, names: topology.Names{Layout: layout}, broker: leverettest.Broker(t)}
	s.prefix = strings.ToLower(rand.Text()[:10]) + "."
	var err error
	s.definitions, err = definitions.Of(c, definitions.Options{
		Names: s.names, VirtualHost: leverettest.VHost(t, s.broker), UserPrefix: s.prefix, Password: passwordOf,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		for _, u := range s.definitions.Users {
			s.manage(http.MethodDelete, nil, "users", u.Name)
		}
	})
	return s
}

// imported is derive, and loads the definitions as an administrator would.
func imported(t *testing.T, c *leveret.Catalog, layout topology.Layout) *system {
	t.Helper()
	s := derive(t, c, layout)
	s.load()
	return s
}

// loading is held by the test that loads definitions: quorum queues take their time, and many at once take far longer.
var loading sync.Mutex

// load loads the definitions by the management API.
func (s *system) load() {
	s.t.Helper()
	loading.Lock()
	defer loading.Unlock()
	s.manage(http.MethodPost, json.RawMessage(s.encoded()), "definitions")
}

func passwordOf(user string) (string, error) { return "the password of " + user, nil }

func (s *system) encoded() []byte {
	s.t.Helper()
	text, err := s.definitions.Encode()
	require.NoError(s.t, err)
	return text
}

// as returns the broker's address with the user of a service, or of the operators.
func (s *system) as(name string) string {
	s.t.Helper()
	u, err := url.Parse(s.broker)
	require.NoError(s.t, err)
	password, err := passwordOf(s.prefix + name)
	require.NoError(s.t, err)
	u.User = url.UserPassword(s.prefix+name, password)
	return u.String()
}

func (s *system) manage(method string, body any, path ...string) {
	s.t.Helper()
	api := patient(s.t, leverettest.Node(s.t).ManagementURL(), s.broker)
	require.NoError(s.t, api.Call(context.WithoutCancel(s.t.Context()), method, body, nil, path...))
}

// patient returns the management API of a broker that may be busy.
func patient(t *testing.T, address, broker string) *management.Client {
	t.Helper()
	api, err := management.New(management.Config{URL: address, Broker: broker, Timeout: 10 * time.Minute})
	require.NoError(t, err)
	return api
}

// topology is what all services declare where they may.
func (s *system) topology() topology.Topology {
	var t topology.Topology
	for _, service := range s.catalog.Services() {
		t.Add(service.Topology(s.names, topology.Classic))
	}
	return t
}

// dial connects as a user until the test ends.
func dial(t *testing.T, address string) *amqp.Connection {
	t.Helper()
	conn, err := amqp.Dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
