package leveret_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// asked is what clients have asked the broker for, by the AMQP methods that passed a proxy.
type asked struct {
	mu                                     sync.Mutex
	exchanges, queues, bindings, consumers []string // a binding by its queue; what was only looked at is left out
	open                                   int      // channels
}

// watch notes what passes the proxy from now on.
func (a *asked) watch(p *proxy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = func(broker io.Writer) io.Writer {
		return &methods{to: broker, seen: a.note, skip: len("AMQP0091")}
	}
}

// note notes one method: its numbers, and its arguments, of which the first is of no use.
func (a *asked) note(method []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch class, number := binary.BigEndian.Uint16(method), binary.BigEndian.Uint16(method[2:]); [2]uint16{class, number} {
	case [2]uint16{20, 10}: // channel.open
		a.open++
	case [2]uint16{20, 40}, [2]uint16{20, 41}: // channel.close, and channel.close-ok
		a.open--
	case [2]uint16{40, 10}: // exchange.declare
		name, rest := shortString(method[6:])
		if _, options := shortString(rest); options[0]&passive == 0 {
			a.exchanges = append(a.exchanges, name)
		}
	case [2]uint16{50, 10}: // queue.declare
		if name, options := shortString(method[6:]); options[0]&passive == 0 {
			a.queues = append(a.queues, name)
		}
	case [2]uint16{50, 20}: // queue.bind
		name, _ := shortString(method[6:])
		a.bindings = append(a.bindings, name)
	case [2]uint16{60, 20}: // basic.consume
		name, _ := shortString(method[6:])
		a.consumers = append(a.consumers, name)
	}
}

// passive is the option of a declaration that only looks whether there is such a thing.
const passive = 1

func shortString(b []byte) (text string, rest []byte) {
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:]
}

// count is how many there are of each.
type count struct{ exchanges, queues, bindings, consumers int }

func (a *asked) count() count {
	a.mu.Lock()
	defer a.mu.Unlock()
	return count{len(a.exchanges), len(a.queues), len(a.bindings), len(a.consumers)}
}

// channels is how many channels are open.
func (a *asked) channels() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open
}

// take returns what there is, and forgets it.
func (a *asked) take() (exchanges, queues, bindings []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.exchanges, a.queues, a.bindings, a.consumers = nil, nil, nil, nil }()
	return a.exchanges, a.queues, a.bindings
}

// methods passes what one client writes on, and shows the methods in it.
type methods struct {
	to    io.Writer
	seen  func(method []byte)
	skip  int    // bytes until the next frame begins
	begun []byte // of that frame
}

func (m *methods) Write(b []byte) (int, error) {
	m.begun = append(m.begun, b...)
	for {
		skipped := min(m.skip, len(m.begun))
		m.begun, m.skip = m.begun[skipped:], m.skip-skipped
		if len(m.begun) < 7 {
			return m.to.Write(b)
		}
		size := int(binary.BigEndian.Uint32(m.begun[3:]))
		if isMethod := m.begun[0] == 1; isMethod {
			if len(m.begun) < 7+size {
				return m.to.Write(b)
			}
			m.seen(m.begun[7 : 7+size])
		}
		m.skip = 7 + size + 1
	}
}

// TestWorkersGrowWithWhatTheyServe: a worker declares each thing once when it starts, and after a lost connection only
// what went with that. It says once that a connection was lost, not once for each queue.
func TestWorkersGrowWithWhatTheyServe(t *testing.T) {
	t.Parallel()
	for _, n := range []int{20, 100} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			way, said := b.proxy(), &asked{}
			said.watch(way)
			tester := b.connect(leveret.ConnConfig{}).Rabbit()
			var mu sync.Mutex
			logged := map[string]int{}
			log := slog.New(&logbook{on: func(r slog.Record) {
				mu.Lock()
				logged[r.Message]++
				mu.Unlock()
				_ = b.log.Handler().Handle(b.ctx, r)
			}})
			records := func(message string) int {
				mu.Lock()
				defer mu.Unlock()
				return logged[message]
			}

			service, register := mixed(n)
			w := b.worker(b.connect(leveret.ConnConfig{URLs: []string{way.url}, Logger: log}), service, leveret.WorkerConfig{})
			register(w.Handlers)
			w.declares = time.Hour
			b.run(w)
			// With the queue where callers cancel requests, which a worker does not wait for.
			consuming := func() bool { return said.count().consumers == n+1 }
			b.eventually(consuming, "every queue is consumed")
			working, requests := n*3/4, n/4
			require.Equal(t, count{
				exchanges: 13, // shared by all
				// A dead-letter queue each; and for all the four retry tiers, retries that are lost, quarantine and control.
				queues: 2*working + requests + 7,
				// To its exchange, to the dead letters' and to where retries come from; of a request its own and control's.
				bindings:  3*working + 2*requests + 6,
				consumers: n + 1,
			}, said.count())
			_, queues, _ := said.take()
			var control string
			for _, queue := range queues {
				if strings.HasPrefix(queue, "control.") {
					require.Empty(t, control)
					control = queue
				}
			}

			way.refuse(true)
			way.cut()
			b.eventually(func() bool { return records("connection lost") == 2 }, "one for publishing, one for consuming")
			// The broker refuses an exclusive queue to the next connection until it has noticed the end of the last.
			b.eventually(func() bool {
				_, err := tester.Inspect(b.ctx, control)
				return errors.Is(err, rabbit.ErrNotFound)
			}, "the broker has noticed")
			way.refuse(false)
			b.eventually(consuming, "every queue is consumed again")
			b.eventually(func() bool { return w.Ready() == nil })
			require.Equal(t, n+1, said.count().consumers)
			exchanges, queues, bindings := said.take()
			require.Empty(t, exchanges)
			require.Equal(t, []string{control}, queues)
			require.Len(t, bindings, requests)
			for _, queue := range bindings {
				require.Equal(t, control, queue)
			}
			require.Equal(t, 2, records("connection lost"))
			require.Zero(t, records("not consuming"))
		})
	}
}

// mixed is a service of n contracts, one request and one event for every two commands, and what registers its handlers.
func mixed(n int) (*leveret.Service, func(*leveret.Handlers)) {
	var serves []leveret.ServiceOption
	var handlers []func(*leveret.Handlers)
	handle := func(context.Context, thing) error { return nil }
	for i := range n {
		switch name := fmt.Sprintf("a.x%d", i); i % 4 {
		case 0:
			happened := leveret.NewEvent[thing](name)
			serves = append(serves, leveret.SubscribesTo(happened))
			handlers = append(handlers, func(h *leveret.Handlers) { happened.Subscribe(h, handle) })
		case 1:
			ask := leveret.NewRequest[thing, answer](name)
			serves = append(serves, leveret.Answers(ask))
			handlers = append(handlers, func(h *leveret.Handlers) {
				ask.Answer(h, func(context.Context, thing) (answer, error) { return answer{}, nil })
			})
		default:
			do := leveret.NewCommand[thing](name)
			serves = append(serves, leveret.Handles(do))
			handlers = append(handlers, func(h *leveret.Handlers) { do.Handle(h, handle) })
		}
	}
	return leveret.NewService("a", serves...), func(h *leveret.Handlers) {
		for _, register := range handlers {
			register(h)
		}
	}
}
