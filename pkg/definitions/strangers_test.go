package definitions_test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Each user may do what its contracts need, and nothing with what belongs to others: tried with every operation of AMQP
// 0-9-1 on every exchange and queue of the shop, of RabbitMQ, and of the processes. What the layout cannot refuse is a
// list, which is part of the documentation.
func TestStrangers(t *testing.T) { //nolint:tparallel // the documentation is compared when both layouts have been tried
	t.Parallel()
	t.Run("layouts", func(t *testing.T) {
		for _, layout := range []topology.Layout{topology.Shared, topology.Isolated} {
			t.Run(string(layout), func(t *testing.T) {
				t.Parallel()
				golden(t, "testdata/"+string(layout)+"-layout.md", try(t, layout))
			})
		}
	})
	documented(t)
}

// try tries everything, and returns what reaches further than the contracts, since a right is one to a name: to an
// exchange and not to a routing key. Nothing else may succeed, and no message may arrive anywhere else.
func try(t *testing.T, layout topology.Layout) string {
	t.Helper()
	trial := newTrial(t, layout)
	trial.run()
	for _, f := range trial.found {
		require.Truef(t, f.needed, "%s may %s %q %q, which its contracts do not need", f.person.name, f.did, f.on, f.by)
	}
	for p, reached := range trial.arrived() {
		require.Equal(t, slices.Sorted(maps.Keys(trial.byDesign(p))), slices.Sorted(maps.Keys(reached)), "where the messages of %s arrived", p.name)
	}
	return trial.report()
}

// trial is everything that everybody tries.
type trial struct {
	*system
	topology  topology.Topology // with the queues of the processes
	exchanges []string          // of the shop
	others    []string          // of RabbitMQ
	queues    []string
	people    []*person
	owners    map[string]*person // of queues
	admin     *amqp.Connection
	checked   bool // a passive declaration needs a right
	streams   map[string]<-chan amqp.Delivery

	missing string    // what has not arrived yet
	found   []finding // what was tried and not refused
	seen    map[*person]map[string]map[string]bool
}

// finding is what the broker let a person do.
type finding struct {
	person  *person
	did, on string // "publish to", and an exchange
	by      string // a routing key
	needed  bool   // by the contracts
}

func newTrial(t *testing.T, layout topology.Layout) *trial {
	t.Helper()
	tr := &trial{
		system: derive(t, shop, layout), owners: map[string]*person{}, seen: map[*person]map[string]map[string]bool{},
		streams: map[string]<-chan amqp.Delivery{},
	}
	tr.topology = tr.system.topology()
	const expiry = "x-expires" // of a queue that nobody consumes for a minute, which a trial may take
	for _, q := range tr.definitions.Queues {
		delete(q.Arguments, expiry)
	}
	for _, q := range tr.topology.Queues {
		delete(q.Args, expiry)
	}
	tr.load()
	tr.people = tr.system.people()
	tr.bindLive(tr.people)
	tr.admin = dial(t, tr.broker)
	tr.checked = !strings.HasPrefix(leverettest.Node(t).Version(), "3.")
	for _, e := range tr.topology.Exchanges {
		tr.exchanges = append(tr.exchanges, e.Name)
	}
	for _, q := range tr.topology.Queues {
		tr.queues = append(tr.queues, q.Name)
		if q.Args["x-queue-type"] == string(topology.Stream) {
			tr.streams[q.Name] = tr.read(q.Name)
		}
	}
	tr.others = []string{"", "amq.direct", "amq.topic", "amq.fanout", "amq.headers", "amq.match", "amq.rabbitmq.trace"}
	for _, p := range tr.people {
		if p.service != nil {
			for q := range tr.queuesOf(p.service) {
				tr.owners[q] = p
			}
		}
		for _, queue := range p.queues {
			tr.owners[queue] = p
			tr.queues = append(tr.queues, queue)
			for exchange, keys := range tr.liveKeys(p, queue) {
				for _, key := range keys {
					tr.topology.Bindings = append(tr.topology.Bindings, topology.Binding{Exchange: exchange, RoutingKey: key, Queue: queue})
				}
			}
		}
	}
	require.Greater(t, len(tr.exchanges), 10)
	require.Greater(t, len(tr.queues), 40)
	return tr
}

// run tries everything, in an order in which nothing is missing that is needed later. At each step all try at once, and
// none leaves anything behind that another one's messages could take.
func (tr *trial) run() {
	tr.t.Helper()
	for _, step := range []func(*person) []finding{tr.declares, tr.binds, tr.publishes, tr.takes, tr.deletes} {
		found := make([][]finding, len(tr.people))
		everybody(tr.people, func(p *person) { found[slices.Index(tr.people, p)] = step(p) })
		tr.found = append(tr.found, slices.Concat(found...)...)
		require.False(tr.t, tr.t.Failed())
	}
	attempts, refusals := 0, 0
	for _, p := range tr.people {
		attempts, refusals = attempts+p.attempts, refusals+p.refusals
	}
	tr.t.Logf("%d attempts, of which %d were refused", attempts, refusals)
	require.Greater(tr.t, refusals, 3000)
}

// expect tries something that must succeed if and only if it is needed.
func (tr *trial) expect(found *[]finding, p *person, did, on, by string, needed bool, do func(*amqp.Channel) error) {
	may := p.may(do)
	if may {
		*found = append(*found, finding{p, did, on, by, needed})
	}
	if needed && !may {
		tr.t.Errorf("%s may not %s %s %s, which its contracts need", p.name, did, on, by)
	}
}

// declares tries to declare everything as it is, and to look whether it is there. RabbitMQ 3.10 tells everybody what is
// there; 4.3 those who have any right to something of that name.
func (tr *trial) declares(p *person) (found []finding) {
	for _, e := range tr.topology.Exchanges {
		tr.expect(&found, p, "declare", e.Name, "", false, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(e.Name, e.Type, !e.Transient, e.AutoDelete, e.Internal, false, e.Args)
		})
		right := p.needs.publish[e.Name] || p.needs.listen[e.Name] || p.needs.take[e.Name]
		tr.expect(&found, p, "look at", e.Name, "", !tr.checked || right, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(e.Name, e.Type, !e.Transient, e.AutoDelete, e.Internal, false, nil)
		})
	}
	for _, name := range tr.others[1:] {
		tr.expect(&found, p, "declare", name, "", false, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(name, "direct", true, false, false, false, nil)
		})
	}
	for _, q := range tr.topology.Queues {
		tr.expect(&found, p, "declare", q.Name, "", p.needs.declare[q.Name], declareQueue(q.Name, false, q.Args))
	}
	for _, queue := range tr.queues {
		// A queue of the same name is an exchange's right as well: what may be written to quarantine.order may be looked at.
		right := p.needs.take[queue] || p.needs.declare[queue] || p.needs.publish[queue]
		exclusive := tr.owners[queue] != p && slices.Contains(tr.live(), queue)
		tr.expect(&found, p, "look at", queue, "", !exclusive && (!tr.checked || right), func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
			return err
		})
	}
	tr.expect(&found, p, "declare", "a queue that the broker names", "", false, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("", false, false, true, false, nil)
		return err
	})
	for _, name := range tr.squatted(p) {
		tr.expect(&found, p, "declare", name, "", false, declareQueue(name, false, nil))
	}
	return found
}

// squatted are names in which others trust, and which nobody has given to anything yet.
func (tr *trial) squatted(p *person) []string {
	n := tr.names
	var names []string
	for _, s := range tr.catalog.Services() {
		if names = append(names, n.SubscriptionQueue(s.Name(), "", "order.shipped")); s != p.service {
			names = append(names, n.ControlQueue(s.Name(), "next"), n.ReplyQueue(s.Name(), "next"))
		}
	}
	return append(names, "reply", "control", "commands.order.x", "order.place.x", "amq.gen-x")
}

// live are the queues of processes.
func (tr *trial) live() []string { return tr.queues[len(tr.topology.Queues):] }

// binds tries to listen to everything with a queue of its own, to take others' queues into its own service, to join
// exchanges, and to lead what it may name into what belongs to others.
func (tr *trial) binds(p *person) (found []finding) {
	for _, exchange := range append(slices.Clone(tr.exchanges), tr.others[1:]...) {
		tr.listens(&found, p, exchange)
		tr.leads(&found, p, exchange)
		// The other end is something that the person may use, if there is anything.
		tr.joins(&found, p, exchange, first(p.needs.publish, tr.exchanges[0]))
		tr.joins(&found, p, first(p.needs.listen, tr.exchanges[0]), exchange)
	}
	for _, queue := range tr.queues {
		own := p.needs.binds(queue)
		if exchange := first(p.needs.listen, ""); exchange != "" {
			tr.expect(&found, p, "bind "+exchange+" to", queue, "x", own, func(ch *amqp.Channel) error {
				return ch.QueueBind(queue, "x", exchange, false, nil)
			})
			tr.expect(&found, p, "unbind "+exchange+" from", queue, "x", own, func(ch *amqp.Channel) error {
				return ch.QueueUnbind(queue, "x", exchange, nil)
			})
		}
		for _, b := range tr.topology.Bindings {
			if b.Queue == queue && (!own || !p.needs.hears(b.Exchange)) {
				tr.expect(&found, p, "unbind "+b.Exchange+" from", queue, b.RoutingKey, false, func(ch *amqp.Channel) error {
					return ch.QueueUnbind(queue, b.RoutingKey, b.Exchange, nil)
				})
			}
		}
	}
	return found
}

// first returns the first name in a set, but for the default exchange; or the other one.
func first(set map[string]bool, other string) string {
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if name != "" {
			return name
		}
	}
	return other
}

// listens tries to bind a queue of the person's own to an exchange, with every routing key that is bound there.
func (tr *trial) listens(found *[]finding, p *person, exchange string) {
	if len(p.mine) == 0 {
		return // it has no queue
	}
	queue := p.mine[0]
	if !p.may(declareQueue(queue, true, nil)) {
		tr.t.Errorf("%s may not have the queue %s", p.name, queue)
	}
	for _, key := range append(tr.keys(exchange), "#", "") {
		tr.expect(found, p, "listen to", exchange, key, p.needs.hears(exchange), func(ch *amqp.Channel) error {
			if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
				return err
			}
			return ch.QueueUnbind(queue, key, exchange, nil)
		})
	}
}

// leads tries to give an exchange as the alternate, or for the dead letters, of what the person may name.
func (tr *trial) leads(found *[]finding, p *person, exchange string) {
	if len(p.mine) == 0 {
		return
	}
	mine := p.mine[0]
	tr.expect(found, p, "have as an alternate", exchange, "", p.needs.publish[exchange], func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(mine, "fanout", true, false, false, false, amqp.Table{"alternate-exchange": exchange}); err != nil {
			return err
		}
		return ch.ExchangeDelete(mine, false, false)
	})
	tr.expect(found, p, "dead-letter to", exchange, "", p.needs.publish[exchange], func(ch *amqp.Channel) error {
		args := amqp.Table{"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": "x"}
		if err := declareQueue(mine+".dying", false, args)(ch); err != nil {
			return err
		}
		_, err := ch.QueueDelete(mine+".dying", false, false, false)
		return err
	})
}

// joins tries to bind an exchange to another one.
func (tr *trial) joins(found *[]finding, p *person, source, destination string) {
	tr.expect(found, p, "join "+source+" to", destination, "", p.needs.hears(source) && p.needs.publish[destination], func(ch *amqp.Channel) error {
		if err := ch.ExchangeBind(destination, "x", source, false, nil); err != nil {
			return err
		}
		return ch.ExchangeUnbind(destination, "x", source, false, nil)
	})
}

// keys are the routing keys that an exchange knows, and for those that forward messages those of the exchanges behind.
func (tr *trial) keys(exchange string) []string {
	keys := map[string]bool{}
	for _, b := range tr.topology.Bindings {
		if b.Exchange == exchange || strings.HasPrefix(exchange, "retry.") && tr.short(exchange) == b.Exchange {
			keys[b.RoutingKey] = true
		}
	}
	if exchange == "" {
		for _, queue := range tr.queues {
			keys[queue] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// short returns where the messages of the tier of one second go back to; nothing for others, which take too long to
// wait for.
func (tr *trial) short(tier string) string {
	if back, ok := strings.CutSuffix(tier, ".1s"); ok {
		return back + ".return"
	}
	return ""
}

// publishes tries to publish to everything: directly, with copies for all queues, and by way of what the person may
// name.
func (tr *trial) publishes(p *person) (found []finding) {
	var everything []any
	for _, queue := range tr.queues {
		everything = append(everything, queue)
	}
	for _, exchange := range append(slices.Clone(tr.exchanges), tr.others...) {
		needed := p.needs.publish[exchange]
		for _, key := range append(tr.keys(exchange), "nowhere") {
			if p.publish(exchange, key, exchange, nil) != needed {
				tr.t.Errorf("%s publishes to %q with %q: this must succeed: %v", p.name, exchange, key, needed)
				continue
			}
			if needed {
				found = append(found, finding{person: p, did: "publish to", on: exchange, by: key, needed: true})
			}
		}
		copies := amqp.Table{"CC": everything, "BCC": everything}
		if p.publish(exchange, "nowhere", exchange, copies) != needed {
			tr.t.Errorf("%s publishes to %q with copies: this must succeed: %v", p.name, exchange, needed)
		}
		if needed && exchange != "" {
			tr.detours(p, exchange)
		}
	}
	return found
}

// detours publishes to an exchange by an exchange and a queue that the person may name itself.
func (tr *trial) detours(p *person, exchange string) {
	if len(p.mine) == 0 {
		return
	}
	mine := p.mine[0]
	dying := amqp.Table{"x-dead-letter-exchange": exchange, "x-message-ttl": int32(1)}
	ok := p.may(func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(mine, "topic", true, false, false, false, amqp.Table{"alternate-exchange": exchange}); err != nil {
			return err
		}
		return declareQueue(mine+".dying", false, dying)(ch)
	}) && p.may(func(ch *amqp.Channel) error { return ch.QueueBind(mine+".dying", "dies.#", mine, false, nil) })
	if !ok {
		tr.t.Errorf("%s cannot make %s", p.name, mine)
	}
	// What is not bound goes to the alternate, and what dies goes on with all its keys.
	everything := []any{}
	for _, queue := range tr.queues {
		everything = append(everything, queue)
	}
	for _, key := range tr.keys(exchange) {
		ok = ok && p.publish(mine, key, "alternate", nil)
	}
	ok = ok && p.publish(mine, "nowhere", "alternate", amqp.Table{"CC": everything})
	ok = ok && p.publish(mine, "dies.x", "dead letter", amqp.Table{"CC": everything, "BCC": everything})
	ok = ok && p.may(func(ch *amqp.Channel) error { return ch.QueueUnbind(mine+".dying", "dies.#", mine, nil) })
	// What is dying has to arrive before the queue goes.
	ok = ok && eventually(func() bool {
		q, err := p.ch.QueueDeclarePassive(mine+".dying", true, false, false, false, nil)
		return err == nil && q.Messages == 0
	})
	ok = ok && p.may(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(mine+".dying", false, false, false)
		return err
	}) && p.may(func(ch *amqp.Channel) error { return ch.ExchangeDelete(mine, false, false) })
	if !ok {
		tr.t.Errorf("%s cannot make a detour to %s", p.name, exchange)
	}
}

// eventually waits for a fact, as require.Eventually does, and in the same goroutine.
func eventually(is func() bool) bool {
	for tick, end := time.NewTicker(5*time.Millisecond), time.After(patience); ; {
		if is() {
			tick.Stop()
			return true
		}
		select {
		case <-tick.C:
		case <-end:
			tick.Stop()
			return false
		}
	}
}

// takes tries to read, to empty, and to consume. What has arrived is counted first.
func (tr *trial) takes(p *person) (found []finding) {
	if p == tr.people[0] { // once, before anybody takes anything
		tr.count()
	}
	return found
}

// deletes tries to delete everything.
func (tr *trial) deletes(p *person) (found []finding) {
	for _, queue := range tr.queues {
		needed := p.needs.take[queue]
		stream := tr.streams[queue] != nil
		empties := !stream || !needed // the connection is closed of a user who gets from a stream that it may read
		if empties {
			tr.expect(&found, p, "get from", queue, "", needed, func(ch *amqp.Channel) error {
				_, _, err := ch.Get(queue, true)
				return err
			})
		}
		tr.expect(&found, p, "consume from", queue, "", needed, func(ch *amqp.Channel) error {
			if stream {
				if err := ch.Qos(1, 0, false); err != nil {
					return err
				}
			}
			_, err := ch.Consume(queue, "c", false, false, false, false, nil)
			if err == nil {
				err = ch.Cancel("c", false)
			}
			return err
		})
		if empties {
			tr.expect(&found, p, "empty", queue, "", needed, func(ch *amqp.Channel) error {
				_, err := ch.QueuePurge(queue, false)
				return err
			})
		}
		tr.expect(&found, p, "delete", queue, "", p.needs.declare[queue], func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(queue, false, false, false)
			return err
		})
	}
	for _, exchange := range append(slices.Clone(tr.exchanges), tr.others...) {
		tr.expect(&found, p, "delete", exchange, "", false, func(ch *amqp.Channel) error { return ch.ExchangeDelete(exchange, false, false) })
	}
	return found
}

// read reads a stream from its beginning.
func (tr *trial) read(stream string) <-chan amqp.Delivery {
	tr.t.Helper()
	ch, err := tr.admin.Channel()
	require.NoError(tr.t, err)
	require.NoError(tr.t, ch.Qos(100, 0, false))
	deliveries, err := ch.Consume(stream, "", false, false, false, false, amqp.Table{"x-stream-offset": "first"})
	require.NoError(tr.t, err)
	return deliveries
}

// noteRead notes what has been read of a stream so far.
func (tr *trial) noteRead(stream string) {
	for {
		select {
		case d := <-tr.streams[stream]:
			tr.note(d.AppId, d.MessageId, stream)
			if err := d.Ack(false); err != nil {
				tr.t.Errorf("ack what is read of %s: %v", stream, err)
				return
			}
		default:
			return
		}
	}
}

// count takes everything from all queues, and notes whose it was and which way it came.
func (tr *trial) count() {
	ch, err := tr.admin.Channel()
	if err != nil {
		tr.t.Errorf("open a channel: %v", err)
		return
	}
	defer ch.Close()
	// What waits in the shortest tiers comes back by itself.
	if !eventually(func() bool { return tr.drain(ch) }) {
		tr.t.Errorf("not everything has arrived: %s", tr.missing)
	}
}

// drain takes what is there, and reports whether all has arrived that is known to be under way.
func (tr *trial) drain(ch *amqp.Channel) bool {
	for _, queue := range tr.queues {
		from := ch
		if owner := tr.owners[queue]; owner != nil && slices.Contains(owner.queues, queue) {
			if owner.ch == nil {
				owner.may(func(*amqp.Channel) error { return nil })
			}
			from = owner.ch
		}
		if tr.streams[queue] != nil {
			tr.noteRead(queue)
			continue
		}
		if passing(queue) {
			continue // its messages come back by themselves
		}
		for {
			d, ok, err := from.Get(queue, true)
			if err != nil {
				tr.t.Errorf("get from %s: %v", queue, err)
				return true
			}
			if !ok {
				break
			}
			tr.note(d.AppId, d.MessageId, queue)
		}
	}
	for _, p := range tr.people {
		for exchange := range p.needs.publish {
			for _, queue := range tr.behind(exchange) {
				if !tr.seen[p][exchange][queue] {
					tr.missing = fmt.Sprintf("%s -> %s -> %s", p.name, exchange, queue)
					return false
				}
			}
		}
	}
	return true
}

func (tr *trial) note(user, way, queue string) {
	for _, p := range tr.people {
		if p.name == user {
			if tr.seen[p] == nil {
				tr.seen[p] = map[string]map[string]bool{}
			}
			if tr.seen[p][way] == nil {
				tr.seen[p][way] = map[string]bool{}
			}
			tr.seen[p][way][queue] = true
		}
	}
}

// behind returns the queues that what is published to an exchange arrives in.
func (tr *trial) behind(exchange string) []string {
	queues := map[string]bool{}
	follow := func(exchange string) {
		for _, b := range tr.topology.Bindings {
			if b.Exchange == exchange {
				queues[b.Queue] = true
			}
		}
	}
	back := tr.short(exchange)
	switch {
	case exchange == "":
		for _, queue := range tr.queues {
			queues[queue] = true
		}
	case back != "":
		follow(back)
	default:
		follow(exchange)
	}
	if way, ok := strings.CutSuffix(cmp.Or(back, exchange), ".return"); ok {
		queues[way+".lost"] = true // what has no queue to go back to
	}
	maps.DeleteFunc(queues, func(queue string, _ bool) bool { return passing(queue) })
	return slices.Sorted(maps.Keys(queues))
}

// passing reports whether a queue is a tier whose messages may have gone on before anybody has looked at it.
func passing(queue string) bool {
	return strings.HasPrefix(queue, "retry.") && (strings.HasSuffix(queue, ".1s") || strings.HasSuffix(queue, ".10s"))
}

// arrived returns the queues that each person's messages came to.
func (tr *trial) arrived() map[*person]map[string]bool {
	all := map[*person]map[string]bool{}
	for _, p := range tr.people {
		all[p] = map[string]bool{}
		for _, queues := range tr.seen[p] {
			maps.Copy(all[p], queues)
		}
	}
	return all
}

// byDesign returns the queues behind the exchanges that a person's contracts need: the right is one to an exchange, and
// not to a routing key.
func (tr *trial) byDesign(p *person) map[string]bool {
	queues := map[string]bool{}
	for exchange := range p.needs.publish {
		add(queues, tr.behind(exchange)...)
	}
	return queues
}
