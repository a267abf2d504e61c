package cli

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// maxHeld is how many bytes of dead letters are kept in memory.
const maxHeld = 256 << 20

// everyLetter is the limit that reads all dead letters.
const everyLetter = math.MaxInt

// reading reads the dead letters of a queue. It keeps the first limit letters that pick selects; of the others it keeps
// only what determines their numbers.
type reading struct {
	limit int
	pick  func(*deadletter.Letter) bool // nil selects all

	letters []numbered // in the order of their failures once all are read; until then numbered by their place in the queue
	matched int        // how many pick selected
	seen    int
	places  []place
	held    int // bytes
}

// place is what determines a letter's number.
type place struct {
	failedAt time.Time
	id       string
	inQueue  int
}

// placeSize is the size of a place without its id, in bytes.
const placeSize = 64

// readLetters reads up to most dead letters of a queue, and numbers them in the order of their failures: the order of a
// quorum queue changes when messages are returned to it.
func (a *App) readLetters(ctx context.Context, letters *deadletter.Store, queue string, most int, r *reading) error {
	bar := a.StartProgress("read", 0)
	defer bar.End()
	total, err := letters.Peek(ctx, letters.DeadLetters(queue), most, func(l *deadletter.Letter) bool {
		bar.Add(1)
		return r.take(l)
	})
	bar.End()
	if err != nil {
		return a.explainLetters(queue, err)
	}
	r.number()
	switch {
	case r.held >= maxHeld:
		a.Warn("%s has %d dead letters; only the first %d were read, which fill the limit of %d MiB. A lower --limit needs less", queue, total, r.seen, maxHeld>>20)
	case r.seen < total:
		a.Warn("%s has %d dead letters; only the first %d were read. --limit reads more, --where reads all", queue, total, r.seen)
	}
	return nil
}

// take takes a letter, and returns whether there is room for another.
func (r *reading) take(l *deadletter.Letter) bool {
	here := numbered{l, r.seen}
	r.places = append(r.places, here.place())
	r.held += placeSize + len(l.ID)
	if r.pick == nil || r.pick(l) {
		r.matched++
		r.letters = append(r.letters, here)
		r.held += size(l)
	}
	r.seen++
	if len(r.letters)/2 >= r.limit || r.held >= maxHeld {
		r.cut()
	}
	return r.held < maxHeld
}

// size is how many bytes of a letter are kept.
func size(l *deadletter.Letter) int { return len(l.Body) + rabbit.TableSize(l.Headers) }

// cut drops the letters over the limit.
func (r *reading) cut() {
	sortLetters(r.letters)
	for i := min(r.limit, len(r.letters)); i < len(r.letters); i++ {
		r.held -= size(r.letters[i].Letter)
		r.letters[i].Letter = nil
	}
	r.letters = r.letters[:min(r.limit, len(r.letters))]
}

// number gives each kept letter its number among all.
func (r *reading) number() {
	r.cut()
	slices.SortFunc(r.places, place.compare)
	next := 0
	for i, p := range r.places {
		if next < len(r.letters) && r.letters[next].number == p.inQueue {
			r.letters[next].number = i + 1
			next++
		}
	}
}

// compare orders by the time of the failure, then by id, then by the place in the queue.
func (p place) compare(other place) int {
	return cmp.Or(p.failedAt.Compare(other.failedAt), cmp.Compare(p.id, other.id), cmp.Compare(p.inQueue, other.inQueue))
}

// sortLetters sorts letters that are numbered by their place in the queue, or not at all.
func sortLetters(all []numbered) {
	slices.SortStableFunc(all, func(x, y numbered) int { return x.place().compare(y.place()) })
}

func (n numbered) place() place { return place{n.FailedAt, n.ID, n.number} }
