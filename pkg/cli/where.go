package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/leveretmq/leveret/pkg/deadletter"
)

// whereHelp is what can be asked of a dead letter, as the help of the commands shows it.
const whereHelp = `--where picks dead letters by an expression (see expr-lang.org) over

  code, reason, error        what went wrong; code is empty where the broker gave up, not a worker
  id, contract               of the message
  attempts, replayed         how often it was handled, and replayed before
  age                        since it failed: age > duration("1h")
  payload                    the payload as JSON: payload.total.amount > 100
  headers                    headers["mine"] == "x"
  service, host              who gave up`

// whereLetter is a dead letter as an expression sees it.
type whereLetter struct {
	Code     string         `expr:"code"`
	Reason   string         `expr:"reason"`
	Error    string         `expr:"error"`
	ID       string         `expr:"id"`
	Contract string         `expr:"contract"`
	Attempts int            `expr:"attempts"`
	Replayed int            `expr:"replayed"`
	Age      time.Duration  `expr:"age"`
	Payload  any            `expr:"payload"`
	Headers  map[string]any `expr:"headers"`
	Service  string         `expr:"service"`
	Host     string         `expr:"host"`
}

// A where picks dead letters. Nil picks all.
type where struct {
	program *vm.Program
	payload bool // the expression asks for it
	failed  int
	first   error // of those that it could not be asked of
}

// parseWhere reads --where.
func parseWhere(text string) (*where, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil //nolint:nilnil // nil picks all
	}
	program, err := expr.Compile(text, expr.Env(whereLetter{}), expr.AsBool())
	if err != nil {
		if e, ok := errors.AsType[*file.Error](err); ok {
			return nil, usage("", "--where: %s at line %d, column %d%s", e.Message, e.Line, e.Column+1, e.Snippet)
		}
		return nil, usage("", "--where must be true or false: %w", err)
	}
	return &where{program: program, payload: strings.Contains(text, "payload") || strings.Contains(text, "$env")}, nil
}

// picks tells whether a letter is wanted. One that the expression cannot be asked of, such as one whose payload is no
// object, is not, and is counted.
func (w *where) picks(l *deadletter.Letter) bool {
	if w == nil {
		return true
	}
	env := whereLetter{
		Code: l.Code, Reason: l.Reason, Error: l.Error, ID: l.ID, Contract: l.Contract, Attempts: l.Attempts, Replayed: l.Replayed,
		Age: age(l), Headers: l.Headers, Service: l.Service, Host: l.Host,
	}
	if w.payload {
		decoder := json.NewDecoder(bytes.NewReader(l.Body))
		if decoder.Decode(&env.Payload) != nil || decoder.More() {
			env.Payload = nil
		}
	}
	result, err := expr.Run(w.program, env)
	if err != nil {
		w.failed++
		if w.first == nil {
			w.first = err
		}
		return false
	}
	picked, _ := result.(bool)
	return picked
}

// tell warns of letters that the expression could not be asked of.
func (w *where) tell(a *App) {
	if w == nil || w.failed == 0 {
		return
	}
	text := w.first.Error()
	if e, ok := errors.AsType[*file.Error](w.first); ok {
		text = e.Message
	}
	a.Warn("--where fails for %s, not picked: %s", deadLetters(w.failed), text)
}

// age is how long ago a letter failed; 0 where nobody said.
func age(l *deadletter.Letter) time.Duration {
	if l.FailedAt.IsZero() {
		return 0
	}
	return max(time.Since(l.FailedAt), 0)
}

// deadLetters counts them in words.
func deadLetters(n int) string {
	if n == 1 {
		return "1 dead letter"
	}
	return fmt.Sprintf("%d dead letters", n)
}
