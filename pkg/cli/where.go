package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
)

// whereHelp explains --where in the help of commands.
const whereHelp = `--where selects dead letters with an expression (see expr-lang.org) over these fields:

  code, reason, error        why it failed; code is empty if the broker gave up, not a worker
  id, contract               its message id and contract
  attempts, replayed         how often it was handled, and how often replayed
  age                        how long ago it failed: age > duration("1h")
  delayed                    it has not failed: it was sent to be handled later, and age is how long ago
  payload                    its payload as JSON: payload.total.amount > 100; all digits of numbers count
  headers                    its headers: headers["mine"] == "x"
  service, host              which service gave up, and where`

// whereLetter is a dead letter for an expression.
type whereLetter struct {
	Code     string         `expr:"code"`
	Reason   string         `expr:"reason"`
	Error    string         `expr:"error"`
	ID       string         `expr:"id"`
	Contract string         `expr:"contract"`
	Attempts int            `expr:"attempts"`
	Replayed int            `expr:"replayed"`
	Age      time.Duration  `expr:"age"`
	Delayed  bool           `expr:"delayed"`
	Payload  any            `expr:"payload"`
	Headers  map[string]any `expr:"headers"`
	Service  string         `expr:"service"`
	Host     string         `expr:"host"`
}

// A where selects dead letters. A nil where selects all.
type where struct {
	*condition
	seen func(*deadletter.Letter) []byte
}

// parseWhere reads --where. Its expression sees no more of a payload than d shows.
func parseWhere(text string, d *discretion) (*where, error) {
	c, err := parseCondition(text, whereLetter{})
	if err != nil || c == nil {
		return nil, err
	}
	return &where{c, d.seen}, nil
}

// picks returns whether the expression selects a letter.
func (w *where) picks(l *deadletter.Letter) bool {
	if w == nil {
		return true
	}
	env := whereLetter{
		Code: l.Code, Reason: l.Reason, Error: l.Error, ID: l.ID, Contract: l.Contract, Attempts: l.Attempts, Replayed: l.Replayed,
		Age: age(l), Delayed: l.Delayed, Headers: l.Headers, Service: l.Service, Host: l.Host,
	}
	if w.payload {
		env.Payload, _ = readNumbers(w.seen(l))
	}
	return w.holds(env)
}

// warn warns about letters for which evaluating the expression failed.
func (w *where) warn(a *App) {
	if w != nil {
		w.condition.warn(a, deadLetters(w.failed))
	}
}

// A condition is an expression about a message, of which a struct says what it sees.
type condition struct {
	program *vm.Program
	payload bool // it may use it
	failed  int
	first   error // of evaluating it
}

// parseCondition reads --where, for messages of which env is one; nil if there is none.
func parseCondition(text string, env any) (*condition, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil //nolint:nilnil // nil selects all
	}
	readable, exact := exactly(text)
	options := []expr.Option{expr.Env(env), expr.AsBool()}
	program, err := expr.Compile(readable, options...) // which finds what is wrong with the types
	if err == nil {
		program, err = expr.Compile(readable, append(options, exact...)...)
	}
	if err != nil {
		if e, ok := errors.AsType[*file.Error](err); ok {
			return nil, usage("", "--where: %s at line %d, column %d%s", e.Message, e.Line, e.Column+1, e.Snippet)
		}
		return nil, usage("", "--where must be a condition: %w", err)
	}
	return &condition{program: program, payload: strings.Contains(text, "payload") || strings.Contains(text, "$env")}, nil
}

// holds returns whether the condition holds for a message. If evaluating it fails, because the payload is not an object for
// example, it does not, and the failure is counted.
func (c *condition) holds(env any) bool {
	result, err := expr.Run(c.program, env)
	if err != nil {
		c.failed++
		if c.first == nil {
			c.first = err
		}
		return false
	}
	picked, _ := result.(bool)
	return picked
}

// warn warns about messages for which evaluating the condition failed; those are how many of what.
func (c *condition) warn(a *App, those string) {
	if c.failed == 0 {
		return
	}
	text := c.first.Error() // which may quote a payload
	if e, ok := errors.AsType[*file.Error](c.first); ok {
		text = e.Message
	}
	a.Warn("--where failed for %s, left out here: %s", those, term.Cut(text, 500))
}

// age is how long ago a letter failed, or was sent if it has not failed; 0 if unknown.
func age(l *deadletter.Letter) time.Duration {
	since := l.Since()
	if since.IsZero() {
		return 0
	}
	return max(time.Since(since), 0)
}

// deadLetters counts dead letters in words.
func deadLetters(n int) string {
	if n == 1 {
		return "1 dead letter"
	}
	return fmt.Sprintf("%d dead letters", n)
}
