package cli_test

import (
	"cmp"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/compat"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

type theirOrder struct {
	Text string         `json:"text"`
	Card leveret.Secret `json:"card"`
}

// theirs is a catalog of one queue with two contracts. Its dead letters are ours, or end in a queue of theirs, as those of
// another queue do.
func theirs(deadLetters string) *leveret.Catalog {
	graves := cmp.Or(deadLetters, "graves")
	at := func(queue, kind string) leveret.ContractOption {
		return leveret.At(leveret.Address{
			Queue: queue, External: true, Type: kind, DeadLetterQueue: deadLetters,
			Topology: topology.Topology{
				Exchanges: []topology.Exchange{{Name: "graveyard", Type: topology.Fanout}},
				Queues:    []topology.Queue{{Name: queue, Args: map[string]any{"x-dead-letter-exchange": "graveyard"}}, {Name: graves}},
				Bindings:  []topology.Binding{{Exchange: "graveyard", Queue: graves}},
			},
		})
	}
	return leveret.NewCatalog(leveret.NewService("desk", leveret.Handles(
		leveret.NewCommand[theirOrder]("orders.place", at("orders", "place")), leveret.NewCommand[theirOrder]("orders.cancel", at("orders", "cancel")),
		leveret.NewCommand[theirOrder]("returns.take", at("returns", "")))))
}

// their is a system of others on a virtual host, and the program that looks at it.
type their struct {
	*amqp.Channel
	t       *testing.T
	url     string
	catalog *leveret.Catalog
}

func setupTheirs(t *testing.T, deadLetters string) *their {
	t.Helper()
	s := &their{t: t, url: leverettest.Broker(t), catalog: theirs(deadLetters)}
	require.NoError(t, s.catalog.Err())
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{s.url}})
	require.NoError(t, err)
	require.NoError(t, rabbit.NewDeclarer(conn.Rabbit()).Declare(t.Context(), s.catalog.Services()[0].Topology(conn.Names(), topology.Classic)))
	require.NoError(t, conn.Close(t.Context()))
	plain, err := amqp.Dial(s.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = plain.Close() })
	s.Channel, err = plain.Channel()
	require.NoError(t, err)
	return s
}

// fail has a message rejected in a queue by a program of theirs, and waits until it is a dead letter.
func (s *their) fail(queue, kind string, m amqp.Publishing) {
	s.t.Helper()
	m.Type, m.Timestamp = kind, time.Now()
	m.Body = []byte(`{"text":"` + kind + `","card":"4711"}`)
	require.NoError(s.t, s.Publish("", queue, true, false, m))
	s.take(queue, func(d amqp.Delivery) { require.NoError(s.t, d.Reject(false)) })
}

func (s *their) take(queue string, settle func(amqp.Delivery)) (d amqp.Delivery) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		got, ok, err := s.Get(queue, false)
		d = got
		return err == nil && ok
	}, 2*time.Minute, 5*time.Millisecond, "nothing in %s", queue)
	settle(d)
	return d
}

// await waits until a queue has that many messages.
func (s *their) await(queue string, n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		q, err := s.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err == nil && q.Messages == n
	}, 2*time.Minute, 5*time.Millisecond, "%s has not %d", queue, n)
}

func (s *their) run(args ...string) string {
	s.t.Helper()
	c := kitchenAt(s.t, s.url, args...)
	c.catalog = s.catalog
	u, err := url.Parse(leverettest.Node(s.t).ManagementURL())
	require.NoError(s.t, err)
	c.env = map[string]string{"LEVERET_BROKER_MANAGEMENT_URL": u.String()}
	require.Equal(s.t, cli.ExitOK, c.run(s.t.Context()), c.err.String())
	return cmp.Or(c.out.String(), c.err.String())
}

func (s *their) rows(args ...string) (rows []map[string]any) {
	s.t.Helper()
	for line := range strings.Lines(s.run(append(args, "-o", "jsonl")...)) {
		var row map[string]any
		require.NoError(s.t, json.Unmarshal([]byte(line), &row), line)
		rows = append(rows, row)
	}
	return rows
}

// A queue of several contracts is one queue, and each dead letter in it has the contract that it belongs to.
func TestSeveralContractsOnOneQueueAreShown(t *testing.T) {
	t.Parallel()
	s := setupTheirs(t, "")
	rows := s.rows("queues", "orders*")
	require.Len(t, rows, 2)
	for _, row := range rows {
		require.Equal(t, []any{"orders.place", "orders.cancel"}, row["contracts"])
		require.NotContains(t, row, "contract")
	}
	require.Contains(t, s.run("queues", "show", "orders"), "orders.place, orders.cancel to desk")
	shown := s.run("contracts", "show", "orders.cancel")
	require.Contains(t, shown, "orders.place; its messages are told by their type")
	complete := &command{args: []string{"__complete", "dlq", "show", ""}, catalog: s.catalog}
	require.Equal(t, cli.ExitOK, complete.run(t.Context()))
	require.Equal(t, 1, strings.Count(complete.out.String(), "orders\t"), complete.out.String())

	for _, kind := range []string{"place", "cancel", "strange"} {
		require.NoError(t, s.Publish("", "orders.dlq", true, false, amqp.Publishing{
			Type: kind, MessageId: kind, Body: []byte(`{"text":"x","card":"4711"}`),
			Headers: amqp.Table{"leveret-error-code": "internal", "leveret-failed-queue": "orders", "leveret-failed-at": time.Now()},
		}))
	}
	s.await("orders.dlq", 3)
	found := map[any]any{}
	for _, row := range s.rows("dlq", "show", "orders") {
		found[row["id"]] = row["contract"]
		require.Equal(t, map[string]any{"text": "x", "card": "[secret]"}, row["payload"], "nobody's message may have the secrets of each")
	}
	require.Equal(t, map[any]any{"place": "orders.place", "cancel": "orders.cancel", "strange": nil}, found)
	require.Len(t, s.rows("dlq", "show", "orders", "--where", `contract == "orders.cancel"`), 1)
	require.Contains(t, s.run("dlq", "show", "orders"), "CONTRACT")
}

// Dead letters in a queue of theirs are shown, replayed and removed as ours are, each with the queue in which it failed.
func TestDeadLettersOfTheirs(t *testing.T) {
	t.Parallel()
	s := setupTheirs(t, "graves")
	s.fail("orders", "cancel", amqp.Publishing{MessageId: "a", Headers: amqp.Table{"leveret-attempt": int64(5), "leveret-error-code": "unavailable"}})
	s.fail("orders", "strange", amqp.Publishing{MessageId: "b"})
	s.fail("returns", "", amqp.Publishing{MessageId: "c"})
	_, err := s.QueueDeclare("elsewhere", true, false, false, false, amqp.Table{"x-dead-letter-exchange": "graveyard"})
	require.NoError(t, err)
	s.fail("elsewhere", "other", amqp.Publishing{MessageId: "d"})
	s.await("graves", 4)

	rows := s.rows("queues")
	names := map[any]any{}
	for _, row := range rows {
		names[row["name"]] = row["kind"]
	}
	require.Equal(t, "dead_letters", names["graves"])
	require.NotContains(t, names, "orders.dlq")
	queues := map[any]any{}
	for _, row := range s.rows("dlq", "show", "graves") {
		queues[row["id"]] = row["queue"]
		require.Equal(t, "rejected", row["reason"])
		require.NotContains(t, row, "code")
		require.NotEmpty(t, row["failed_at"])
	}
	require.Equal(t, map[any]any{"a": "orders", "b": "orders", "c": "returns", "d": "elsewhere"}, queues)
	rows = s.rows("dlq", "show", "orders")
	require.Len(t, rows, 2, "those of orders alone")
	for _, row := range rows {
		if row["id"] == "a" {
			require.Equal(t, "orders.cancel", row["contract"])
			require.EqualValues(t, 5, row["attempts"])
		}
	}
	require.Len(t, s.rows("dlq", "ls"), 3, "the queue is read once; a group for each work queue")
	require.Contains(t, s.run("contracts", "show", "orders.cancel"), "rejected, to graves")
	require.Contains(t, s.run("status"), "4 dead letters of graves")

	require.Contains(t, s.run("dlq", "replay", "orders", "--where", `contract == "orders.cancel"`, "--yes"), "returned 1 of 4 dead letters to orders")
	s.await("graves", 3)
	d := s.take("orders", func(d amqp.Delivery) { require.NoError(t, d.Reject(false)) })
	require.Equal(t, "a", d.MessageId)
	require.Equal(t, "cancel", d.Type)
	require.EqualValues(t, 1, d.Headers["leveret-replayed"])
	require.NotContains(t, d.Headers, "leveret-attempt", "it counts from one again")
	require.NotContains(t, d.Headers, "x-death")
	s.await("graves", 4)
	s.run("dlq", "rm", "orders", "--all", "--yes")
	s.await("graves", 2)
	s.run("dlq", "replay", "graves", "--yes")
	require.Equal(t, "c", s.take("returns", func(d amqp.Delivery) { require.NoError(t, d.Ack(false)) }).MessageId)
	require.Equal(t, "d", s.take("elsewhere", func(d amqp.Delivery) { require.NoError(t, d.Ack(false)) }).MessageId)
}

// Their queue may be named as one of ours would be: the address says whose it is.
func TestDeadLettersOfTheirsUnderANameLikeOurs(t *testing.T) {
	t.Parallel()
	s := setupTheirs(t, "orders.dlq")
	s.fail("orders", "cancel", amqp.Publishing{MessageId: "a"})
	s.fail("returns", "", amqp.Publishing{MessageId: "c"})
	require.NoError(t, s.Publish("", "orders.dlq", true, false, amqp.Publishing{MessageId: "s", Body: []byte(`{"text":"x","card":"4711"}`)}))
	s.await("orders.dlq", 3)
	queues := map[any]any{}
	for _, row := range s.rows("dlq", "show", "orders.dlq") {
		queues[row["id"]] = row["queue"]
		require.Equal(t, "[secret]", row["payload"].(map[string]any)["card"], "also of one that does not say where it failed")
	}
	require.Len(t, queues, 3)
	require.Equal(t, "orders", queues["a"])
	require.Equal(t, "returns", queues["c"])
	require.Len(t, s.rows("dlq", "show", "returns"), 1)
	require.Contains(t, s.run("status"), "3 dead letters of orders.dlq")
	lock, err := compat.Of(s.catalog)
	require.NoError(t, err)
	for _, c := range lock.Contracts {
		require.Equal(t, "orders.dlq", c.Queues[0].DeadLetters)
	}
	s.run("dlq", "replay", "orders.dlq", "--where", `id != "s"`, "--yes")
	ack := func(d amqp.Delivery) { require.NoError(t, d.Ack(false)) }
	require.Equal(t, "a", s.take("orders", ack).MessageId)
	require.Equal(t, "c", s.take("returns", ack).MessageId)
}
