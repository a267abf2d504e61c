package compat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/compat"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// locked records services.
func locked(tb testing.TB, services ...*leveret.Service) *compat.Lock {
	tb.Helper()
	catalog := leveret.NewCatalog(services...)
	require.NoError(tb, catalog.Err())
	lock, err := compat.Of(catalog)
	require.NoError(tb, err)
	return lock
}

func service(name string, options ...leveret.ServiceOption) *leveret.Service {
	return leveret.NewService(name, options...)
}

func command(options ...leveret.ContractOption) leveret.Contract {
	return leveret.NewCommand[named]("x.do", options...)
}

func event(options ...leveret.ContractOption) leveret.Contract {
	return leveret.NewEvent[named]("x.done", options...)
}

func request(options ...leveret.ContractOption) leveret.Contract {
	return leveret.NewRequest[named, named]("x.ask", options...)
}

func TestContractChanges(t *testing.T) {
	t.Parallel()
	handler := func(c ...leveret.Contract) []*leveret.Service {
		return []*leveret.Service{service("x", leveret.Handles(c...))}
	}
	server := func(c ...leveret.Contract) []*leveret.Service {
		return []*leveret.Service{service("x", leveret.Answers(c...))}
	}
	theirs := command(leveret.At(leveret.Address{Queue: "theirs", External: true}))
	typed := func(name, kind string) leveret.Contract {
		return leveret.NewCommand[named](name, leveret.At(leveret.Address{Queue: "shared", External: true, Type: kind}))
	}
	published := func(e leveret.Contract, subscriber ...leveret.ServiceOption) []*leveret.Service {
		return []*leveret.Service{service("x", leveret.Publishes(e)), service("y", subscriber...)}
	}
	e, hour := event(), event(leveret.Kept(time.Hour, 1_000_000))
	day, large := event(leveret.Kept(24*time.Hour, 1_000_000)), event(leveret.Kept(time.Hour, 2_000_000))
	for _, c := range []struct {
		name     string
		old, now []*leveret.Service
		want     []string // severity, side, part, change
		order    compat.Upgrade
	}{
		{"a command goes", handler(command()), handler(leveret.NewCommand[empty]("x.other")), []string{
			"breaks senders contract removed", "safe  contract added", "safe  service added", "safe  service removed",
		}, compat.SendersFirst},
		{"a request goes", server(request()), server(), []string{"breaks callers contract removed", "safe  service removed"}, compat.CallersFirst},
		{"an event goes", published(e, leveret.SubscribesTo(e)), published(leveret.NewEvent[empty]("x.other")), []string{
			"breaks receivers contract removed", "safe  contract added", "safe  service added", "safe  service removed", "safe  service removed",
		}, compat.ReceiversFirst},
		{"a contract is new", server(), server(request()), []string{"safe  contract added", "safe  service added"}, ""},
		{"another kind", handler(leveret.NewCommand[named]("x.ask")), server(request()), []string{
			"breaks receivers contract kind", "careful  retry tier", "safe  service removed", "safe  service added",
		}, ""},
		{
			"another exchange for a command", handler(command()), handler(command(leveret.At(leveret.Address{Exchange: "other"}))),
			[]string{"careful  route address"},
			"",
		},
		{
			"another exchange for an event", published(e, leveret.SubscribesTo(e)), func() []*leveret.Service {
				moved := event(leveret.At(leveret.Address{Exchange: "other"}))
				return published(moved, leveret.SubscribesTo(moved))
			}(), []string{"breaks receivers route address"}, compat.ReceiversFirst,
		},
		{
			"another routing key for a request", server(request()), server(request(leveret.At(leveret.Address{RoutingKey: "other"}))),
			[]string{"breaks servers route address"},
			compat.ServersFirst,
		},
		{
			"another queue", handler(command()), handler(command(leveret.At(leveret.Address{Queue: "other"}))),
			[]string{"breaks receivers queue name"},
			"",
		},
		{
			"another queue of somebody else", handler(theirs), handler(command(leveret.At(leveret.Address{Queue: "other", External: true}))),
			[]string{"breaks receivers queue name", "careful  route address"},
			"",
		},
		{
			"another type and a header", handler(theirs),
			handler(command(leveret.At(leveret.Address{Queue: "theirs", External: true, Type: "do", Headers: map[string]string{"v": "2"}}))),
			[]string{"careful  route type"},
			"",
		},
		{
			"another type in a queue of several contracts", handler(typed("x.do", "do"), typed("x.undo", "undo")),
			handler(typed("x.do", "done"), typed("x.undo", "undo")),
			[]string{"breaks receivers route type"},
			"",
		},
		{
			"dead letters in somebody else's queue", handler(theirs),
			handler(command(leveret.At(leveret.Address{Queue: "theirs", External: true, DeadLetterQueue: "graves"}))),
			[]string{"careful  queue dead_letters"},
			"",
		},
		{
			"a queue becomes somebody else's", handler(command(leveret.At(leveret.Address{Exchange: "ex", RoutingKey: "key", Queue: "theirs"}))),
			handler(command(leveret.At(leveret.Address{Exchange: "ex", RoutingKey: "key", Queue: "theirs", External: true}))),
			[]string{"careful  route external"},
			"",
		},
		{"a subscription goes", published(e, leveret.SubscribesTo(e)), published(e), []string{
			"breaks receivers queue removed", "safe  service removed",
		}, compat.AnyOrder},
		{
			"a named subscription goes", published(e, leveret.SubscribesTo(e), leveret.SubscribesAs("bell", e)), published(e, leveret.SubscribesTo(e)),
			[]string{"breaks receivers queue removed", "safe  service removed"},
			compat.AnyOrder,
		},
		{
			"a subscription per process goes", published(e, leveret.SubscribesTo(e), leveret.SubscribesPerProcess(e)), published(e, leveret.SubscribesTo(e)),
			[]string{"safe  queue removed", "safe  service removed"},
			"",
		},
		{
			"a subscription is per process now", published(e, leveret.SubscribesTo(e)), published(e, leveret.SubscribesPerProcess(e)),
			[]string{"breaks receivers queue removed", "safe  queue added", "safe  service added", "safe  service removed"},
			compat.AnyOrder,
		},
		{"a subscriber goes", published(e, leveret.SubscribesTo(e)), []*leveret.Service{service("x", leveret.Publishes(e))}, []string{
			"breaks receivers queue removed", "careful  service removed",
		}, compat.AnyOrder},
		{"a subscription is new", published(e), published(e, leveret.SubscribesTo(e)), []string{
			"safe  queue added", "safe  service added",
		}, ""},
		{
			"a handler moves",
			[]*leveret.Service{service("x", leveret.Handles(theirs)), service("y")},
			[]*leveret.Service{service("x"), service("y", leveret.Handles(theirs))},
			[]string{
				"careful receivers queue removed", "safe  service removed", "safe  service added",
			},
			"",
		},
		{"nobody handles it any more", []*leveret.Service{service("x", leveret.Handles(theirs))}, []*leveret.Service{service("x", leveret.Sends(theirs))}, []string{
			"breaks receivers queue removed", "safe  service removed", "safe  service added",
		}, ""},
		{"idempotent no more", server(request(leveret.Idempotent())), server(request()), []string{"breaks callers idempotent withdrawn"}, compat.CallersFirst},
		{"idempotent now", server(request()), server(request(leveret.Idempotent())), []string{"careful servers idempotent added"}, ""},
		{"a shorter timeout", server(request()), server(request(leveret.Timeout(time.Second))), []string{"careful callers timeout shortened"}, ""},
		{"a longer timeout", server(request()), server(request(leveret.Timeout(time.Minute))), []string{"safe  timeout lengthened"}, ""},
		{"another HTTP pattern", server(request()), server(request(leveret.HTTP("GET /asks/{name}"))), []string{"breaks callers http pattern"}, ""},
		{"fewer attempts", handler(command()), handler(command(leveret.Retry(leveret.RetryPolicy{Attempts: 3}))), []string{"careful  retry attempts"}, ""},
		{"more attempts", handler(command()), handler(command(leveret.Retry(leveret.RetryPolicy{Attempts: 9}))), []string{"safe  retry attempts"}, ""},
		{
			"other delays", handler(command()), handler(command(leveret.Retry(leveret.RetryPolicy{Delays: []time.Duration{time.Second, time.Hour}}))),
			[]string{"safe  retry delays", "careful  retry tier"},
			"",
		},
		{"an event is kept, and read", published(e), published(hour, leveret.Reads(hour)), []string{"safe  kept added", "safe  service added"}, ""},
		{"kept and read no more", published(hour, leveret.Reads(hour)), published(e), []string{"careful  kept removed", "safe  service removed"}, ""},
		{"kept for longer", published(hour), published(day), []string{"careful  kept age"}, ""},
		{"kept up to another size", published(hour), published(large), []string{"careful  kept bytes"}, ""},
		{"a code is no longer retried", handler(command(leveret.RetryOn(leveret.NotFound))), handler(command()), []string{"careful  retry retry_on"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, now := locked(t, c.old...), locked(t, c.now...)
			same, err := compat.Check(old, locked(t, c.old...))
			require.NoError(t, err)
			require.Empty(t, same)
			found, err := compat.Check(old, now)
			require.NoError(t, err)
			var lines []string
			for _, f := range found {
				lines = append(lines, fmt.Sprintf("%s %s %s %s", f.Severity, f.Side, f.Part, f.Change))
				require.True(t, f.Severity != compat.Breaks || f.Affected != "" && f.Do != "", "%v", f)
			}
			require.Equal(t, c.want, lines)
			orders := compat.Orders(found)
			for _, order := range orders {
				require.Equal(t, c.order, order)
			}
			if c.order != "" {
				require.NotEmpty(t, orders)
			}
		})
	}
}

// Arguments of queues and types of exchanges are Leveret's own, so only another version of it changes them.
func TestDeclarationsOfAnotherVersion(t *testing.T) {
	t.Parallel()
	old, now := lockOf(t, command()), lockOf(t, command())
	old.Contracts[0].Queues[0].Args["x-delivery-limit"] = 20
	old.Contracts[0].Route.Type = "topic"
	found, err := compat.Check(old, now)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, "type", found[0].Change)
	require.Equal(t, compat.Breaks, found[0].Severity)
	require.Equal(t, "has the queue x.do with other arguments: x-delivery-limit is 1000, and was 20", found[1].Message)
}

func TestRenamed(t *testing.T) {
	t.Parallel()
	found, err := compat.Check(lockOf(t, command()), lockOf(t, leveret.NewCommand[named]("x.perform")))
	require.NoError(t, err)
	require.Equal(t, "is gone; x.perform is new, and carries the same", found[0].Message)
}

// An event that is kept is there for longer than any order of upgrade takes: its receivers have to understand it.
func TestKeptPayloads(t *testing.T) {
	t.Parallel()
	of := func(c leveret.Contract) *compat.Lock { return locked(t, service("x", leveret.Publishes(c))) }
	for _, kept := range [][]leveret.ContractOption{{leveret.Kept(time.Hour, 1_000_000)}, nil} {
		found, err := compat.Check(of(leveret.NewEvent[empty]("x.done", kept...)), of(event(kept...)))
		require.NoError(t, err)
		require.Equal(t, compat.Breaks, found[0].Severity)
		if kept == nil {
			require.Equal(t, compat.SendersFirst, found[0].Upgrade)
			require.Equal(t, "make the field optional (omitempty), or make a new contract x.done.v2", found[0].Do)
			continue
		}
		require.Empty(t, found[0].Upgrade)
		require.Contains(t, found[0].Affected, "and events that are kept")
		require.Equal(t, "make the field optional (omitempty), convert them with leveret.Older, or make a new contract x.done.v2", found[0].Do)
	}
}
