package conformance

import (
	"context"
	"sync"
	"time"
)

// What an event is.
type what string

const (
	opened    what = "connection opened"
	lost      what = "connection ended"
	selected  what = "confirms asked for"
	bounded   what = "prefetch set"
	consumed  what = "consumer started"
	consuming what = "consumer accepted"
	polled    what = "basic.get"
	declared  what = "declared"
	exists    what = "queue exists" // as the broker answers to a declaration
	bound     what = "bound"
	published what = "published"
	delivered what = "delivered"
	returned  what = "returned"
	acked     what = "acked"
	nacked    what = "nacked"
	rejected  what = "rejected"
	confirmed what = "confirmed" // the client was sent a confirm
	refused   what = "refused"   // the client was sent a nack
	closed    what = "closed by the broker"
	said      what = "line on standard output"
	ended     what = "client ended"
	arrived   what = "request came" // to the kit, as a service
)

// An event is one thing that the client, or the broker towards it, has done.
type event struct {
	what    what
	at      time.Time
	conn    int
	channel uint16

	message *message // of published, delivered, returned, arrived

	tag                uint64 // of a delivery, a settlement, a publish on a channel with confirms, a confirm
	multiple, requeue  bool
	noAck, redelivered bool
	exclusive          bool // declared, exists
	prefetch           uint16
	queue              string // consumed, declared, bound
	exchange, key      string
	args               map[string]any

	code uint16 // of closed
	text string // of closed, said
	err  error  // of ended
}

// settles reports whether e settles a delivery.
func (e event) settles(d event) bool {
	switch e.what {
	case acked, nacked, rejected:
		return e.conn == d.conn && e.channel == d.channel && (e.tag == d.tag || e.multiple && (e.tag == 0 || e.tag > d.tag))
	default:
		return false
	}
}

// A trace is all events so far, in order. It is safe for concurrent use.
type trace struct {
	mu      sync.Mutex
	events  []event
	changed chan struct{}
}

func newTrace() *trace { return &trace{changed: make(chan struct{})} }

func (t *trace) add(e event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.at = time.Now()
	t.events = append(t.events, e)
	close(t.changed)
	t.changed = make(chan struct{})
}

// now returns a place in the trace: what comes later is since then.
func (t *trace) now() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.events)
}

// since returns the events from a place on.
func (t *trace) since(from int) []event {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.events[from:len(t.events):len(t.events)]
}

// wait returns the first event from a place on that matches. It returns false when ctx ends before there is one.
func (t *trace) wait(ctx context.Context, from int, matches func(event) bool) (event, bool) {
	for {
		t.mu.Lock()
		news, changed := t.events[from:len(t.events):len(t.events)], t.changed
		t.mu.Unlock()
		for _, e := range news {
			if matches(e) {
				return e, true
			}
		}
		from += len(news)
		select {
		case <-changed:
		case <-ctx.Done():
			return event{}, false
		}
	}
}
