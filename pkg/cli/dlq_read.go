package cli

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/deadletter"
)

// maxHeld is how many bytes of dead letters are kept to be shown.
const maxHeld = 256 << 20

// everyLetter is how many dead letters to read at most where all are wanted.
const everyLetter = math.MaxInt

// reading is a look at the dead letters of a queue. It keeps the first limit of those that pick wants; of the others only
// what they are numbered by.
type reading struct {
	limit int
	pick  func(*deadletter.Letter) bool // nil wants all

	letters []numbered // in the order of their failures, once all are read; numbered by their place in the queue until then
	matched int        // how many were picked
	seen    int
	places  []place
	held    int // bytes
}

// place is what a letter's number depends on.
type place struct {
	failedAt time.Time
	id       string
	inQueue  int
}

// placeSize is the size of a place without its id.
const placeSize = 64

// readLetters reads up to most dead letters of a queue, and numbers them in the order of their failures: that of a quorum
// queue changes when messages go back to it.
func (a *App) readLetters(ctx context.Context, letters *deadletter.Store, queue string, most int, r *reading) error {
	bar := a.StartProgress("looked at", 0)
	defer bar.End()
	total, err := letters.Peek(ctx, queue, most, func(l *deadletter.Letter) bool {
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
		a.Warn("%s has %d dead letters; the first %d were looked at: no more are kept than %d MiB. A lower --limit keeps fewer", queue, total, r.seen, maxHeld>>20)
	case r.seen < total:
		a.Warn("%s has %d dead letters; the first %d were looked at. --limit looks at more, --where at all", queue, total, r.seen)
	}
	return nil
}

// take reads a letter, and tells whether there is room for another.
func (r *reading) take(l *deadletter.Letter) bool {
	r.places = append(r.places, place{l.FailedAt, l.ID, r.seen})
	r.held += placeSize + len(l.ID)
	if r.pick == nil || r.pick(l) {
		r.matched++
		r.letters = append(r.letters, numbered{l, r.seen})
		r.held += len(l.Body)
	}
	r.seen++
	if len(r.letters)/2 >= r.limit || r.held >= maxHeld {
		r.cut()
	}
	return r.held < maxHeld
}

// cut forgets the letters that are over the limit.
func (r *reading) cut() {
	sortLetters(r.letters)
	for i := min(r.limit, len(r.letters)); i < len(r.letters); i++ {
		r.held -= len(r.letters[i].Body)
		r.letters[i].Letter = nil
	}
	r.letters = r.letters[:min(r.limit, len(r.letters))]
}

// number gives each letter that is kept its number among all.
func (r *reading) number() {
	r.cut()
	slices.SortFunc(r.places, func(x, y place) int {
		return cmp.Or(x.failedAt.Compare(y.failedAt), cmp.Compare(x.id, y.id), cmp.Compare(x.inQueue, y.inQueue))
	})
	next := 0
	for i, p := range r.places {
		if next < len(r.letters) && r.letters[next].number == p.inQueue {
			r.letters[next].number = i + 1
			next++
		}
	}
}

// sortLetters sorts by the time of the failure; those that cannot be told apart stay as they are.
func sortLetters(all []numbered) {
	slices.SortStableFunc(all, func(x, y numbered) int {
		return cmp.Or(x.FailedAt.Compare(y.FailedAt), cmp.Compare(x.ID, y.ID))
	})
}
