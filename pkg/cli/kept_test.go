package cli_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A stream that is missing is a warning where something else of its service exists.
func TestStatusWarnsOfAMissingStream(t *testing.T) {
	t.Parallel()
	url := leverettest.Broker(t)
	onBroker(t, url, open)
	text := func() string {
		c := kitchenAt(t, url, "status", "--broker-management-url", noManagement)
		c.catalog = bakery
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		return c.out.String()
	}
	require.NotContains(t, text(), soldStream)
	onBroker(t, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		ch, err := conn.Channel(ctx)
		require.NoError(tb, err)
		_, err = ch.QueueDelete(soldStream, false, false, false)
		require.NoError(tb, err)
	})
	require.Contains(t, text(), "there is no bread.sold.kept, so nothing is kept: bread has not published that event yet, or the stream was deleted")
}

// The stream of a kept event is shown as what it is: what is in it waits for nobody, and it needs no consumers. No command
// takes from it, or puts into it.
func TestKeptEvents(t *testing.T) {
	t.Parallel()
	ordered := leveret.NewEvent[baked]("menu.ordered", leveret.Kept(48*time.Hour, 5_000_000))
	menu := leveret.NewService("menu", leveret.Publishes(ordered))
	system := leveret.NewCatalog(menu, leveret.NewService("history", leveret.Reads(ordered)))
	address := leverettest.Broker(t)
	run := func(args ...string) *command {
		t.Helper()
		c := kitchenAt(t, address, args...)
		c.catalog = system
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		return c
	}
	const stream = "menu.ordered.kept"
	require.Contains(t, run("queues", "--broker-management-url", noManagement).out.String(), "not declared")
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{address}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	client, err := leveret.NewClient(conn, menu, leveret.ClientConfig{})
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, ordered.Publish(t.Context(), client, baked{DishID: "1"}))
	}
	require.NoError(t, client.Close(t.Context()))
	require.NoError(t, conn.Close(t.Context()))

	for _, management := range []string{noManagement, leverettest.Node(t).ManagementURL()} {
		at := []string{"--broker-management-url", management}
		var rows []struct {
			Name, Kind, Contract, Service string
			Declared                      bool
			Ready                         int
			Oldest                        *float64 `json:"oldest_s"`
		}
		require.Eventually(t, func() bool { // the number is seconds late
			c := kitchenAt(t, address, append(at, "queues", "-o", "json")...)
			c.catalog = system
			rows = nil
			return c.run(t.Context()) == cli.ExitOK && json.Unmarshal([]byte(c.out.String()), &rows) == nil && len(rows) > 0 && rows[0].Ready == 3
		}, 2*patience, tick)
		require.Len(t, rows, 1)
		require.Equal(t, []string{stream, "kept", "menu.ordered", "menu"}, []string{rows[0].Name, rows[0].Kind, rows[0].Contract, rows[0].Service})
		require.Nil(t, rows[0].Oldest)
		require.Regexp(t, `menu\.ordered\.kept +3 .* kept\n$`, run(append(at, "queues")...).out.String())
		shown := run(append(at, "queues", "show", stream)...).out.String()
		require.Regexp(t, `(?s)\nkind +stream that keeps menu\.ordered for those who read it later\nmessages +3 kept, as of some seconds ago`, shown)
		require.NotContains(t, shown, "no consumers")

		c := kitchenAt(t, address, append(at, "status", "-o", "json")...)
		c.catalog = system
		code, report := reportOf(t, c)
		require.Equal(t, cli.ExitOK, code)
		for _, f := range report.Findings {
			require.NotContains(t, f.Text, stream)
		}
		require.Zero(t, report.Waiting.Ready)
		require.Equal(t, health.Healthy, report.Verdict)

		require.NotContains(t, run(append(at, "dlq", "ls")...).out.String(), stream)
		require.NotContains(t, run(append(at, "retry", "ls")...).out.String(), stream)
		for _, args := range [][]string{
			{"dlq", "show", stream}, {"dlq", "replay", stream, "--yes"}, {"dlq", "rm", stream, "--all", "--yes"}, {"retry", "release", stream, "--yes"},
		} {
			c := kitchenAt(t, address, append(at, args...)...)
			c.catalog = system
			require.Equal(t, cli.ExitNotFound, c.run(t.Context()), "%s: %s%s", args, c.out.String(), c.err.String())
		}
	}

	// All of them are still there, and no others.
	plain, err := amqp.Dial(address)
	require.NoError(t, err)
	defer plain.Close()
	ch, err := plain.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.Qos(10, 0, false))
	require.NoError(t, ch.Confirm(false))
	confirm, err := ch.PublishWithDeferredConfirm("", stream, false, false, amqp.Publishing{MessageId: "last"})
	require.NoError(t, err)
	require.True(t, confirm.Wait())
	kept, err := ch.Consume(stream, "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
	require.NoError(t, err)
	for range 3 {
		d := <-kept
		require.JSONEq(t, `{"dish_id":"1"}`, string(d.Body))
		require.NoError(t, d.Ack(false))
	}
	require.Equal(t, "last", (<-kept).MessageId)
}

// `contracts show` says that an event is kept, and who reads it.
func TestKeptEventsAreShown(t *testing.T) {
	t.Parallel()
	ordered := leveret.NewEvent[baked]("menu.ordered", leveret.Kept(48*time.Hour, 5_000_000))
	system := leveret.NewCatalog(leveret.NewService("menu", leveret.Publishes(ordered)), leveret.NewService("history", leveret.Reads(ordered)))
	show := func(args ...string) string {
		t.Helper()
		c := kitchenAt(t, "amqp://guest:guest@127.0.0.1", append([]string{"contracts", "show", "menu.ordered"}, args...)...)
		c.catalog = system
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		return c.out.String()
	}
	require.Regexp(t, `\nkept +in the stream menu\.ordered\.kept, for 2 days, up to 5 MB\nread by +history\n`, show())
	require.Contains(t, show("--broker-namespace", "blue"), "in the stream blue.menu.ordered.kept,")
	var d struct{ Kept json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(show("-o", "json")), &d))
	require.JSONEq(t, `{"stream":"menu.ordered.kept","age_s":172800,"bytes":5000000,"readers":["history"]}`, string(d.Kept))
}

// A policy that is meant for all queues deletes what is kept, if it limits their bytes, and status says so. Nothing else of
// it reaches a stream. A policy's age and size count instead of the contract's, and at once.
func TestPoliciesOfStreams(t *testing.T) {
	t.Parallel()
	ordered := leveret.NewEvent[string]("menu.ordered", leveret.Kept(48*time.Hour, 5_000_000))
	menu := leveret.NewService("menu", leveret.Publishes(ordered))
	address := leverettest.Broker(t)
	vhost := leverettest.VHost(t, address)
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{address}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	client, err := leveret.NewClient(conn, menu, leveret.ClientConfig{})
	require.NoError(t, err)
	defer func() {
		require.NoError(t, client.Close(t.Context()))
		require.NoError(t, conn.Close(t.Context()))
	}()
	publish := func() error {
		for range 12 { // more than one segment
			if err := ordered.Publish(t.Context(), client, strings.Repeat("x", 50_000)); err != nil {
				return err
			}
		}
		return nil
	}
	first := func() int64 { // or -1: RabbitMQ 3.10 may close the connection of a reader while it deletes a segment
		plain, err := amqp.Dial(address)
		if err != nil {
			return -1
		}
		defer plain.Close()
		ch, err := plain.Channel()
		if err != nil || ch.Qos(1, 0, false) != nil {
			return -1
		}
		kept, err := ch.Consume("menu.ordered.kept", "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
		if err != nil {
			return -1
		}
		select {
		case d, ok := <-kept:
			if offset, known := d.Headers["x-stream-offset"].(int64); ok && known {
				return offset
			}
		case <-time.After(10 * time.Second):
		}
		return -1
	}
	set := func(definition map[string]any) {
		manage(t, http.MethodPut, map[string]any{"pattern": ".*", "definition": definition, "apply-to": "queues"}, "policies", vhost, "all")
	}
	policies := func() string { // or what was printed instead of a report
		c := kitchenAt(t, address, "status", "-o", "json", "--broker-management-url", leverettest.Node(t).ManagementURL())
		c.catalog = leveret.NewCatalog(menu)
		c.run(t.Context())
		var report health.Report
		if err := json.Unmarshal([]byte(c.out.String()), &report); err != nil {
			return c.err.String()
		}
		return find(report, health.CheckPolicy).Text
	}
	require.NoError(t, publish())
	set(map[string]any{"message-ttl": 1, "expires": 1000, "max-length": 1, "overflow": "drop-head"})
	require.NoError(t, publish())
	require.Eventually(t, func() bool { return policies() == "no policy of the broker harms a queue" }, patience, tick)
	require.Eventually(t, func() bool { return first() == 0 }, patience, tick)
	set(map[string]any{"max-age": "1D"})
	require.Eventually(t, func() bool {
		return policies() == "policy all deletes what is kept in menu.ordered.kept after 1D; its contract says 2d"
	}, patience, tick)
	set(map[string]any{"max-length-bytes": 1_000_000})
	require.Eventually(t, func() bool {
		return policies() == "policy all deletes what is kept in menu.ordered.kept beyond 1000000 bytes; its contract says 5000000"
	}, patience, tick)
	require.Eventually(t, func() bool {
		return publish() == nil && first() > 0
	}, patience, tick)
}
