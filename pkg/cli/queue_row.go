package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/operator"
)

// queueRow is one queue in `queues`. Unknown values are nil.
type queueRow struct {
	shownQueue

	At        *time.Time `json:"at,omitempty"` // under --watch
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`
	Contract  string     `json:"contract,omitempty"`
	Contracts []string   `json:"contracts,omitempty"` // where there are several
	Service   string     `json:"service,omitempty"`
	Declared  bool       `json:"declared"`
	Ready     *int       `json:"ready"`
	Unacked   *int       `json:"unacked"`
	Consumers *int       `json:"consumers"`
	In        *float64   `json:"in_per_s"`
	Out       *float64   `json:"out_per_s"`
	Oldest    *float64   `json:"oldest_s"`
	// OldestFrom says how Oldest is known: oldestBroker and so on; empty if it is not.
	OldestFrom string   `json:"oldest_from,omitempty"`
	ClearsIn   *float64 `json:"clears_in_s"`

	grows bool
}

// Where the age of a queue's oldest message is from.
const (
	oldestBroker    = "broker"     // of the message at the head: classic queues know its timestamp
	oldestInFlight  = "in_flight"  // of a message that is being handled
	oldestLastTaken = "last_taken" // of the message that was taken last: those that wait are younger
)

func newQueueRow(q shownQueue, m management.Queue, now time.Time) queueRow {
	r := queueRow{
		shownQueue: q, Name: q.name, Kind: q.kind, Service: q.service,
		Ready: m.Ready, Unacked: m.Unacked, Consumers: m.Consumers, In: m.In(), Out: m.Out(), Oldest: m.Oldest(now),
	}
	switch len(q.contracts) {
	case 0:
	case 1:
		r.Contract = q.contracts[0]
	default:
		r.Contracts = q.contracts
	}
	if q.kind == kindKept { // that a stream's first is old says nothing
		r.Oldest = nil
	}
	if r.Oldest != nil {
		r.OldestFrom = oldestBroker
	}
	return r
}

// age sets how old the oldest message is, from what the processes of the service report.
func (r *queueRow) age(reports []operator.Queue, now time.Time) {
	var last *time.Time
	for _, q := range reports {
		if at := q.OldestSentAt; at != nil && (r.Oldest == nil || ageOf(*at, now) > *r.Oldest) {
			seconds := ageOf(*at, now)
			r.Oldest, r.OldestFrom = &seconds, oldestInFlight
		}
		if at := q.LastSentAt; at != nil && (last == nil || at.After(*last)) {
			last = at
		}
	}
	if r.Oldest == nil && last != nil && r.Ready != nil && *r.Ready > 0 {
		seconds := ageOf(*last, now)
		r.Oldest, r.OldestFrom = &seconds, oldestLastTaken
	}
}

// ageOf returns an age in seconds; 0 where the sender's clock is ahead.
func ageOf(at, now time.Time) float64 { return max(now.Sub(at).Seconds(), 0) }

// abandoned reports whether nothing takes messages from a queue from which a service should.
func (r *queueRow) abandoned() bool {
	return r.Kind == kindWork && r.Declared && r.Consumers != nil && *r.Consumers == 0
}

// busy reports whether there is something to see.
func (r *queueRow) busy() bool {
	some := func(n *int) bool { return n != nil && *n > 0 }
	moves := func(rate *float64) bool { return rate != nil && *rate > 0 }
	if r.Kind == kindKept {
		return moves(r.In) || moves(r.Out)
	}
	return some(r.Ready) || some(r.Unacked) || moves(r.In) || moves(r.Out) || r.abandoned()
}

// estimate sets how long the messages that wait will last, from the rates, or else from the change since the last
// sample.
func (r *queueRow) estimate(before map[string]int, elapsed time.Duration) {
	if r.Kind != kindWork || r.Ready == nil || *r.Ready == 0 {
		return
	}
	var pace float64 // by how much Ready falls per second
	was, sampled := before[r.Name]
	switch {
	case r.In != nil && r.Out != nil:
		pace = *r.Out - *r.In
	case r.Out != nil:
		pace = *r.Out
	case r.In != nil:
		pace = -*r.In
	case sampled && elapsed > 0:
		pace = float64(was-*r.Ready) / elapsed.Seconds()
	}
	switch {
	case pace > 0:
		seconds := float64(*r.Ready) / pace
		r.ClearsIn = &seconds
	case pace < 0:
		r.grows = true
	}
}

func queueTable(rows []queueRow) *term.Table {
	t := term.NewTable("QUEUE", "READY#", "UNACKED#", "CONSUMERS#", "IN/s#", "OUT/s#", "OLDEST#", "CLEARS IN")
	for _, r := range rows {
		if !r.Declared {
			t.Add(term.Painted(r.Name, term.Dim), term.Plain(""), term.Plain(""), term.Plain(""), term.Plain(""), term.Plain(""), term.Plain(""), term.Painted("not declared", term.Dim))
			continue
		}
		t.Add(term.Painted(r.Name, r.paintName()), term.Painted(whole(r.Ready), r.paintReady()), term.Plain(whole(r.Unacked)), term.Painted(whole(r.Consumers), r.paintConsumers()),
			term.Plain(rateText(r.In)), term.Plain(rateText(r.Out)), term.Plain(r.oldestText()), r.clears())
	}
	return t
}

func (r *queueRow) paintName() term.Paint {
	if r.Kind == kindWork {
		return term.Bold
	}
	return ""
}

// paintReady highlights what needs attention: failed messages, and messages that nobody consumes.
func (r *queueRow) paintReady() term.Paint {
	switch {
	case r.Ready == nil || *r.Ready == 0:
		return ""
	case r.Kind == kindDeadLetters, r.Kind == kindLost:
		return term.Red
	case r.abandoned():
		return term.Red
	case r.Kind == kindQuarantine && r.Consumers != nil && *r.Consumers == 0:
		return term.Yellow
	default:
		return ""
	}
}

func (r *queueRow) paintConsumers() term.Paint {
	if r.abandoned() {
		return term.Red
	}
	return ""
}

func (r *queueRow) oldestText() string {
	text := secondsText(r.Oldest)
	if r.OldestFrom == oldestLastTaken {
		return "<" + strings.TrimPrefix(text, "<")
	}
	return text
}

func (r *queueRow) clears() term.Cell {
	switch {
	case r.Kind == kindKept:
		return term.Painted("kept", term.Dim)
	case r.abandoned():
		return term.Painted("no consumers", term.Red)
	case r.grows:
		return term.Painted("grows", term.Yellow)
	default:
		return term.Plain(secondsText(r.ClearsIn))
	}
}

func whole[N int | int64](n *N) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(int64(*n), 10)
}

func rateText(r *float64) string {
	if r == nil {
		return ""
	}
	return term.Count(*r)
}

// secondsText rounds seconds for people: 87s, 90m, 13h, 5d.
func secondsText(s *float64) string {
	if s == nil {
		return ""
	}
	return term.Seconds(*s)
}
