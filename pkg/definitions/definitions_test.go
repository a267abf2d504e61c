package definitions_test

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/definitions"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

type unit struct {
	N int `json:"n"`
}

// The permissions of the shop, to be reviewed: a change of them is a change of this file.
func TestThePermissionsOfTheShop(t *testing.T) {
	t.Parallel()
	for _, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
		d, err := definitions.Of(shop, definitions.Options{Names: topology.Names{Layout: layout}})
		require.NoError(t, err)
		var text strings.Builder
		for i, p := range d.Permissions {
			fmt.Fprintf(&text, "%s %v\n  configure %s\n  write     %s\n  read      %s\n", p.User, d.Users[i].Tags, p.Configure, p.Write, p.Read)
			for _, pattern := range []string{p.Configure, p.Write, p.Read} {
				require.LessOrEqual(t, len(pattern), definitions.MaxPattern)
				require.True(t, strings.HasPrefix(pattern, "^") && strings.HasSuffix(pattern, "$"), pattern)
			}
		}
		golden(t, "testdata/"+string(layout)+"-permissions.golden", text.String())
	}
}

// A password that was hashed here is RabbitMQ's, and nobody without one logs in.
func TestRabbitMQKnowsThePasswords(t *testing.T) {
	t.Parallel()
	s := imported(t, shop, topology.Isolated)
	dial(t, s.as("order"))
	_, err := amqp.Dial(strings.Replace(s.as("order"), "password", "passwort", 1))
	require.ErrorIs(t, err, amqp.ErrCredentials)

	// The users lose their passwords by an import without.
	without, err := definitions.Of(shop, definitions.Options{VirtualHost: leverettest.VHost(t, s.broker), UserPrefix: s.prefix})
	require.NoError(t, err)
	s.definitions = without
	s.load()
	for _, address := range []string{s.as("order"), strings.Replace(s.as("order"), "the%20password%20of%20"+s.prefix+"order", "", 1)} {
		_, err = amqp.Dial(address)
		require.ErrorIs(t, err, amqp.ErrCredentials, address)
	}
}

// What a user would reach only because of a name is refused.
func TestNamesThatReachTooFar(t *testing.T) {
	t.Parallel()
	many := func(owner string) (all []leveret.Contract) {
		for i := range 100 {
			all = append(all, leveret.NewCommand[unit](fmt.Sprintf("%s.command-with-a-long-name-%02d", owner, i)))
		}
		return all
	}
	ask, place := leveret.NewRequest[unit, unit]("order.ask"), leveret.NewCommand[unit]("order.place")
	order := leveret.NewService("order", leveret.Answers(ask), leveret.Handles(place))
	sender := leveret.NewService("sender", leveret.Sends(place), leveret.Calls(ask))
	for name, c := range map[string]struct {
		layout   topology.Layout
		services []*leveret.Service
		want     string
	}{
		"a queue called as an exchange": {
			topology.Isolated,
			[]*leveret.Service{order, sender, leveret.NewService("commands", leveret.Handles(leveret.NewCommand[unit]("commands.order")))},
			`the user "sender" would reach the queue "commands.order"`,
		},
		"a request called as an exchange": {
			topology.Isolated,
			[]*leveret.Service{order, sender, leveret.NewService("control", leveret.Answers(leveret.NewRequest[unit, unit]("control.order")))},
			`the user "sender" would reach the queue "control.order"`,
		},
		"an exchange called as a queue": {
			topology.Isolated,
			[]*leveret.Service{
				order, sender, leveret.NewService("events", leveret.Handles(leveret.NewCommand[unit]("events.payment"))),
				leveret.NewService("payment", leveret.Publishes(leveret.NewEvent[unit]("payment.captured"))),
			},
			`the user "payment" would reach the queue "events.payment"`,
		},
		"a queue called as one of a process": {
			topology.Shared,
			[]*leveret.Service{order, sender, leveret.NewService("control", leveret.Handles(leveret.NewCommand[unit]("control.order.place")))},
			`the user "order" would reach the queue "control.order.place"`,
		},
		"folded over processes": {
			topology.Shared,
			[]*leveret.Service{order, sender, leveret.NewService("control", leveret.Handles(many("control")...))},
			`the user "control" would reach the queue "control.order.*"`,
		},
		"folded over a quarantine": {
			topology.Shared,
			[]*leveret.Service{order, sender, leveret.NewService("quarantine", leveret.Handles(many("quarantine")...))},
			`the user "quarantine" would reach the exchange "quarantine.order"`,
		},
		"that of the operators' queues": {
			topology.Isolated, []*leveret.Service{order, leveret.NewService("operators", leveret.Sends(place))}, `the service "operators" has the name of the operators' reply queues`,
		},
		"two with one name": {
			topology.Shared, []*leveret.Service{order, leveret.NewService("operator", leveret.Sends(place))}, `two users would have the name "operator"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := definitions.Of(leveret.NewCatalog(c.services...), definitions.Options{Names: topology.Names{Layout: c.layout}})
			require.ErrorContains(t, err, c.want)
		})
	}
}

// A system has as many services as it likes: only what one service needs may be too long.
func TestALargeSystem(t *testing.T) {
	t.Parallel()
	var services []*leveret.Service
	for i := range 50 {
		name := fmt.Sprintf("service-%02d", i)
		services = append(services, leveret.NewService(name, leveret.Handles(leveret.NewCommand[unit](name+".do")), leveret.Answers(leveret.NewRequest[unit, unit](name+".ask"))))
	}
	for _, n := range []topology.Names{{}, {Layout: topology.Isolated}, {Namespace: "blue.team", Layout: topology.Isolated}} {
		d, err := definitions.Of(leveret.NewCatalog(services...), definitions.Options{Names: n})
		require.NoError(t, err)
		require.Len(t, d.Users, 51)
	}
}
