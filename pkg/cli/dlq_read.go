package cli

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// maxHeld is how many bytes of dead letters are kept in memory.
const maxHeld = 256 << 20

// everyLetter is the limit that reads all dead letters.
const everyLetter = math.MaxInt

// reading reads the dead letters of a queue. It keeps the limit letters that failed first of those that pick selects.
type reading struct {
	limit int
	pick  func(*deadletter.Letter) bool // nil selects all

	letters []*deadletter.Letter // in the order of their failures once all are read
	matched int                  // how many pick selected
	seen    int
	held    int // bytes
}

// readLetters reads up to most dead letters of a source. It keeps them in the order of their failures: the order of a
// quorum queue changes when messages are returned to it.
func (a *App) readLetters(ctx context.Context, letters *deadletter.Store, from deadletter.Source, most int, r *reading) error {
	a.warnOfReaders(ctx, letters, from)
	bar := a.StartProgress("read", 0)
	defer bar.End()
	total, err := letters.Peek(ctx, from, most, func(l *deadletter.Letter) bool {
		bar.Add(1)
		return r.take(l)
	})
	bar.End()
	if err != nil {
		return a.explainLetters(from, err)
	}
	r.cut()
	switch {
	case r.held >= maxHeld:
		a.Warn("%s has %d dead letters; only the first %d were read, which fill the limit of %d MiB. A lower --limit needs less", nameOf(from), total, r.seen, maxHeld>>20)
	case r.seen < min(total, most):
		a.Warn("only %d of %s of %s could be read: another program holds the rest", r.seen, deadLetters(total), nameOf(from))
	case r.seen < total:
		a.Warn("%s has %d dead letters; only the first %d were read. --limit reads more, --where reads all", nameOf(from), total, r.seen)
	}
	return nil
}

// take takes a letter, and returns whether there is room for another.
func (r *reading) take(l *deadletter.Letter) bool {
	r.seen++
	if r.pick != nil && !r.pick(l) {
		return true
	}
	r.matched++
	r.letters = append(r.letters, l)
	r.held += size(l)
	if len(r.letters)/2 >= r.limit || r.held >= maxHeld {
		r.cut()
	}
	return r.held < maxHeld
}

// size is how many bytes of a letter are kept.
func size(l *deadletter.Letter) int { return len(l.Body) + rabbit.TableSize(l.Headers) }

// cut drops the letters over the limit.
func (r *reading) cut() {
	slices.SortStableFunc(r.letters, func(x, y *deadletter.Letter) int {
		return cmp.Or(x.FailedAt.Compare(y.FailedAt), cmp.Compare(x.ID, y.ID))
	})
	for i := min(r.limit, len(r.letters)); i < len(r.letters); i++ {
		r.held -= size(r.letters[i])
		r.letters[i] = nil
	}
	r.letters = r.letters[:min(r.limit, len(r.letters))]
}
