package compare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/measure"
)

// A Source knows what the receivers have done. measure.EffectReader is one.
type Source interface {
	// Effects returns the effects since the last time, each once, in any order. It is called by one goroutine at a time,
	// and only while nothing is broken. What a receiver did before it was killed must not be missing.
	Effects(ctx context.Context) ([]measure.Effect, error)
}

// Config is what is compared. The zero value of an optional field is its default.
type Config struct {
	// Ways are compared; ratios are to the first.
	Ways   []Way
	Source Source
	// Timeout is the deadline of each operation. Default 5 s.
	Timeout time.Duration
	// Settle limits how long to wait, after the load, for the effects of what was reported ok. Default 60 s. Where
	// something may still come, another copy for instance, Quiet is how long nothing may have come. Default 1 s.
	Settle, Quiet time.Duration
	// Receivers and Broker return their process ids, for their CPU time. The time of a receiver is its own, that of the
	// broker that of all its descendants, too. Optional.
	Receivers, Broker func() []int
	// NewID makes the id of an operation. Default: a UUIDv7.
	NewID func() string
	// Progress is called before each step, and once more at the end, by one goroutine at a time. Optional.
	Progress func(Progress)
	// Sleep paces the load, as in measure.OpenLoop.
	Sleep func(time.Duration)
}

// Progress is how far a pass is: Done of Of steps, which take about the same time within one pass.
type Progress struct {
	// Pass is "speed", "bytes" or "faults", and Step what comes next, for people.
	Pass, Step string
	Done, Of   int
}

// A Comparison compares ways. Its passes must not run at the same time.
type Comparison struct {
	config Config

	mu     sync.Mutex
	owners map[string]*account // by the ids of operations
	stray  int
}

// New makes a comparison, or says what is wrong with its configuration.
func New(config Config) (*Comparison, error) {
	config.Timeout = cmp.Or(config.Timeout, 5*time.Second)
	config.Settle = cmp.Or(config.Settle, time.Minute)
	config.Quiet = cmp.Or(config.Quiet, time.Second)
	if config.NewID == nil {
		config.NewID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	if config.Progress == nil {
		config.Progress = func(Progress) {}
	}
	c := &Comparison{config: config, owners: make(map[string]*account)}
	if config.Source == nil {
		return nil, errors.New("there is no source of effects")
	}
	return c, check(config.Ways)
}

// check says what is wrong with ways.
func check(ways []Way) error {
	if len(ways) == 0 {
		return errors.New("there are no ways to compare")
	}
	names := make(map[string]bool)
	for _, w := range ways {
		if w.Name == "" || names[w.Name] || w.Do == nil {
			return fmt.Errorf("the way %q has no name, no Do, or the name of another one", w.Name)
		}
		names[w.Name] = true
	}
	return nil
}

// Stray is how many effects belong to no operation of this comparison, or came after their pass was over.
func (c *Comparison) Stray() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stray
}

// An account is what one way did in one phase.
type account struct {
	comparison *Comparison
	way        Way
	limit      time.Duration // of an operation
	ledger     measure.Ledger
	once       sync.Once
	err        error // the first that was reported
}

func (c *Comparison) open(w Way) *account {
	return &account{comparison: c, way: w, limit: c.config.Timeout}
}

// do asks for one operation, which was due at that time, and enters it. Its error is what was reported.
func (a *account) do(ctx context.Context, due time.Time) error {
	id := a.comparison.config.NewID()
	a.comparison.mu.Lock()
	a.comparison.owners[id] = a
	a.comparison.mu.Unlock()
	a.ledger.Ask(id, due)
	ctx, cancel := context.WithTimeout(ctx, a.limit)
	defer cancel()
	err := a.way.Do(ctx, id)
	a.ledger.Report(id, outcomeOf(err), time.Now())
	if err != nil {
		a.once.Do(func() { a.err = err })
	}
	return err
}

// release forgets the ids of an account whose phase is over.
func (c *Comparison) release(a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range a.ledger.Operations() {
		delete(c.owners, o.ID)
	}
}

// collect enters the effects that the source knows, and returns their number.
func (c *Comparison) collect(ctx context.Context) (int, error) {
	effects, err := c.config.Source.Effects(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the effects: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range effects {
		if a := c.owners[e.ID]; a != nil {
			a.ledger.Effect(e)
		} else {
			c.stray++
		}
	}
	return len(effects), nil
}

// between is the time between two looks at the effects.
const between = 20 * time.Millisecond

// settle waits until everything that was reported ok has had its effect, but not longer than configured. Where outcomes
// are unknown, or quiet is asked for, it then waits until no more effects come.
func (c *Comparison) settle(ctx context.Context, quiet bool, accounts ...*account) error {
	began := time.Now()
	for last := began; ; {
		n, err := c.collect(ctx)
		if err != nil {
			return err
		}
		if n > 0 {
			last = time.Now()
		}
		var b measure.Balance
		for _, a := range accounts {
			b = b.Plus(a.ledger.Balance())
		}
		calm := !quiet && b.Unknown == b.Recovered || time.Since(last) >= c.config.Quiet
		if b.Lost == 0 && calm || time.Since(began) >= c.config.Settle {
			return nil
		}
		if !wait(ctx, between) {
			return ctx.Err()
		}
	}
}

// done returns when an operation was: when its reply came, or its effect where nobody waits for a reply.
func (a *account) done(o measure.Operation) (time.Time, bool) {
	if a.way.Async {
		return o.First, o.Effects > 0 && o.Outcome == measure.OK
	}
	return o.Reported, o.Outcome == measure.OK
}

// steps reports the progress of a pass.
func (c *Comparison) steps(pass string, of int) func(step string) {
	done := 0
	return func(step string) {
		c.config.Progress(Progress{pass, step, done, of})
		done++
	}
}
