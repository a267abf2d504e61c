package cli_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// What the broker refuses ends in the right that is missing, whichever version words the refusal; and what a user may
// not declare is one sentence.
func TestTheRightThatIsMissing(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, declareAll)
	postpone(t, url, "dead-letters", "oven.bake", 1, "not_found")
	ready(t, url, "oven.bake.dlq", 1)
	all, none := ".*", "^$"
	for name, c := range map[string]struct {
		may      rights
		args     []string
		code     cli.ExitCode
		warnings int
		next     string // a pattern
	}{
		"send": {
			rights{none, none, none},
			[]string{"send", "oven.bake", aPie},
			cli.ExitUnreachable, 1,
			`grant the user reader-\S+ write permission for the exchange commands in the virtual host test-\S+ \(rabbitmqctl set_permissions\), or log in as another user`,
		},
		"send, may write":    {rights{none, "^commands$", none}, []string{"send", "oven.bake", aPie}, cli.ExitOK, 1, ""},
		"send, may not read": {rights{all, all, none}, []string{"send", "oven.bake", aPie}, cli.ExitOK, 1, ""},
		"send -n": {
			rights{none, none, all},
			[]string{"send", "oven.bake", aPie, "-n", "3"},
			cli.ExitUnreachable, 1,
			`write permission for the exchange commands in`,
		},
		"send --after": {
			rights{none, "^commands$", all},
			[]string{"send", "oven.bake", aPie, "--after", "1m"},
			cli.ExitUnreachable, 1,
			`write permission for the exchange retry\.1m in`,
		},
		"send without declaring": {
			rights{none, none, none},
			[]string{"send", "oven.bake", aPie, "--broker-declare=false"},
			cli.ExitUnreachable, 0,
			`write permission for the exchange commands in`,
		},
		"send --raw": {
			rights{all, "^commands$", all},
			[]string{"send", "--raw", "--routing-key", "oven.bake", "x"},
			cli.ExitUnreachable, 0,
			`write permission for the default exchange \(amq\.default\) in`,
		},
		"publish": {
			rights{none, "^commands$", all},
			[]string{"publish", "oven.baked", `{"dish_id":"1"}`},
			cli.ExitUnreachable, 1,
			`write permission for the exchange events in`,
		},
		"call": {
			rights{none, "^commands$", all},
			[]string{"call", "oven.price", `{"dish":"pie"}`},
			cli.ExitUnreachable, 1,
			`write permission for the exchange requests in`,
		},
		"call with a reply queue": {
			rights{none, all, all},
			[]string{"call", "oven.price", `{"dish":"pie"}`, "--client-reply-queue"},
			cli.ExitUnreachable, 1,
			`configure (or read )?permission for the queue reply\.kitchen\.\S+ in`,
		},
		"call, may not read its reply queue": {
			rights{all, all, none},
			[]string{"call", "oven.price", `{"dish":"pie"}`, "--client-reply-queue"},
			cli.ExitUnreachable, 0,
			`(configure or )?read permission for the queue reply\.kitchen\.\S+ in`,
		},
		"dlq show": {rights{none, none, none}, []string{"dlq", "show", "oven.bake"}, cli.ExitUnreachable, 0, `grant the user reader-\S+ read permission for the queue oven\.bake\.dlq in`},
		"dlq rm": {
			rights{none, none, none},
			[]string{"dlq", "rm", "oven.bake", "--all", "--dry-run"},
			cli.ExitUnreachable, 0,
			`read permission for the queue oven\.bake\.dlq in`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := kitchenAt(t, url, append(c.args, userWho(t, url, "", c.may)...)...)
			code := k.run(t.Context())
			require.Equal(t, c.code, code, k.err.String())
			require.Equal(t, c.warnings, strings.Count(k.err.String(), "warning:"))
			require.NotContains(t, k.err.String(), "level=")
			require.NotContains(t, k.err.String(), "secret")
			if c.next != "" {
				require.Regexp(t, `\nnext:  .*`+c.next, k.err.String())
			}
		})
	}
}

// A virtual host that is missing, or that the user may not enter, is not the fault of the password.
func TestTheVirtualHostThatIsMissing(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	vhost := leverettest.VHost(t, url)
	c := kitchenAt(t, strings.TrimSuffix(url, vhost)+"nowhere", "dlq", "ls")
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Regexp(t, `\nnext:  create the virtual host nowhere \(rabbitmqctl add_vhost\), or correct the address: kitchen config show --origin\n$`, c.err.String())
	stranger := userWho(t, leverettest.Broker(t), "", rights{".*", ".*", ".*"})
	c = kitchenAt(t, url, append([]string{"dlq", "ls"}, stranger...)...)
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Regexp(t, `\nnext:  grant the user reader-\S+ access to the virtual host `+vhost+` \(rabbitmqctl set_permissions\), or correct the address`, c.err.String())
}

// A limit that is reached is named, and what to do about it is not the advice for a missing right or a wrong address.
func TestLimitsOfTheVirtualHost(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	vhost := leverettest.VHost(t, url)
	limit := func(name string, n int) {
		manage(t, http.MethodPut, map[string]int{"value": n}, "vhost-limits", vhost, name)
	}
	limit("max-queues", 1)
	c := kitchenAt(t, url, "send", "oven.bake", aPie)
	require.Equal(t, cli.ExitNotFound, c.run(t.Context()), c.err.String())
	require.Regexp(t, `(?s)\nerror: .+ by "oven\.bake": it does not exist: .+; the queue oven\.bake\.dlq could not be declared: .+: queue limit in vhost '`+vhost+`' \(1\) is reached`, c.err.String())
	require.Regexp(t, `\nnext:  delete queues that nobody needs, or raise the limit \(rabbitmqctl set_vhost_limits\)\n$`, c.err.String())

	limit("max-connections", 0)
	c = kitchenAt(t, url, "dlq", "ls", "--broker-connect-timeout", "10s")
	require.Equal(t, cli.ExitUnreachable, c.run(t.Context()))
	require.Regexp(t, `(?m)^error: the broker takes no more connections: .+: connection limit \(0\) is reached"$`, c.err.String())
	require.Regexp(t, `\nnext:  close connections that nobody needs, or raise the limit \(rabbitmqctl set_vhost_limits, set_user_limits\)\n$`, c.err.String())
}

// What a user may neither find nor declare is for another user to declare.
func TestNobodyHasDeclaredIt(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	mayNotDeclare := userWho(t, url, "", rights{"^$", ".*", ".*"})
	for _, args := range [][]string{{"send", "oven.bake", aPie}, {"call", "oven.price", `{"dish":"pie"}`}} {
		c := kitchenAt(t, url, append(args, mayNotDeclare...)...)
		require.Equal(t, cli.ExitNotFound, c.run(t.Context()), c.err.String())
		require.Contains(t, c.err.String(), "\nnext:  start the service once, as a user who may declare what it needs, or grant this user configure permission for it\n")
	}
}
