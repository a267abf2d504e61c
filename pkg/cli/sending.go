package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// sending is one run of send or publish, of a contract's messages or of raw ones.
type sending struct {
	app     *App
	target  target
	headers map[string]string
	pace    *pace
	timeout time.Duration
	verb    string // sent or published
	// check returns the payload as it travels, or what is wrong with it.
	check func(payload []byte) ([]byte, error)
	open  func(ctx context.Context, conn *leveret.Conn) (outlet, error)

	outlet   outlet
	oneByOne bool        // flush after each message: the next one may be long in coming
	begun    []time.Time // of the messages without an outcome, oldest first
	total    sent        // of all that have an outcome; IDs for -o json alone
	first    error       // of the first that was not confirmed
	written  error       // of standard output
}

// target is where messages go: to a contract, or with --raw to an exchange.
type target struct {
	Contract   string  `json:"contract,omitempty"`
	Exchange   *string `json:"exchange,omitempty"`
	RoutingKey *string `json:"routing_key,omitempty"`
}

func (t target) String() string {
	switch {
	case t.Exchange == nil:
		return t.Contract
	case *t.Exchange == "":
		return "to the queue " + *t.RoutingKey
	default:
		return fmt.Sprintf("to the exchange %s, routing key %q,", *t.Exchange, *t.RoutingKey)
	}
}

// sent is what send and publish print under -o json, and for each message under -o jsonl.
type sent struct {
	target

	Sent        int      `json:"sent"`
	Failed      int      `json:"failed"`      // certainly not sent
	Unconfirmed int      `json:"unconfirmed"` // perhaps sent
	IDs         []string `json:"ids"`         // of what is confirmed
	ElapsedMS   float64  `json:"elapsed_ms"`
	Error       string   `json:"error,omitempty"` // of one message
}

// sending checks the options that raw and contract sending share. The next command is for a person who gave no payload.
func (a *App) sending(cmd *cobra.Command, o *sendOptions, next, verb string) (*sending, error) {
	if err := o.check(next); err != nil {
		return nil, err
	}
	switch {
	case o.id == "" && cmd.Flags().Changed("id"):
		return nil, usage("", "--id is empty; leave it out for a new id")
	case o.id != "" && o.total() != 1:
		return nil, usage("", "--id is for one message: each message needs its own id")
	case o.timeout <= 0:
		return nil, usage("", "--timeout is %v; it must be positive", o.timeout)
	}
	headers, err := parseHeaders(o.headers)
	if err != nil {
		return nil, err
	}
	pace, err := parsePace(o.rate)
	if err != nil {
		return nil, err
	}
	return &sending{app: a, headers: headers, pace: pace, timeout: o.timeout, verb: verb}, nil
}

// outcome counts what became of one message, and prints it under -o jsonl.
func (s *sending) outcome(id string, begun time.Time, err error) {
	one := sent{target: s.target, IDs: []string{}, ElapsedMS: milliseconds(time.Since(begun))}
	switch {
	case err == nil:
		one.Sent, one.IDs = 1, []string{id}
	case errors.Is(err, leveret.ErrUnconfirmed):
		one.Unconfirmed = 1
	default:
		one.Failed = 1
	}
	if err != nil {
		one.Error = err.Error()
		s.first = cmp.Or(s.first, err)
	}
	s.total.Sent += one.Sent
	s.total.Failed += one.Failed
	s.total.Unconfirmed += one.Unconfirmed
	switch {
	case s.app.Format() == FormatJSON:
		s.total.IDs = append(s.total.IDs, one.IDs...)
	case s.app.Format() == FormatJSONL && s.written == nil:
		s.written = s.app.PrintJSON(one)
	}
}

// lastWait is how long an interrupted command waits for the confirms of what it has sent.
var lastWait = 5 * time.Second // tests wait longer: their machine may be busy

func (s *sending) run(ctx context.Context, source *payloadOptions) error {
	payloads, stop, err := s.checked(ctx, source)
	if err != nil {
		return err
	}
	defer stop()
	conn, err := s.app.Connect(ctx)
	if err != nil {
		return err
	}
	if s.outlet, err = s.open(ctx, conn); err != nil {
		s.app.close(ctx, conn)
		return err
	}
	defer s.app.close(ctx, conn, s.outlet.close)
	s.total = sent{target: s.target, IDs: []string{}}
	if source.total() == 1 {
		return s.one(ctx, payloads)
	}
	s.oneByOne = s.app.Format() == FormatJSONL && (s.pace != nil || source.file == "-")
	return s.many(ctx, payloads, source)
}

// checked returns the payloads as they will travel. A file is read and checked to its end before anything is sent;
// standard input is checked as it arrives, its first payload at once.
func (s *sending) checked(ctx context.Context, source *payloadOptions) (next func() ([]byte, error, bool), stop func(), err error) {
	if source.lines && source.file != "-" {
		if err := s.checkAll(ctx, source); err != nil {
			return nil, nil, err
		}
	}
	all := func(yield func([]byte, error) bool) {
		for payload, err := range source.payloads(s.app.IO.In) {
			if err == nil {
				payload, err = s.check(payload)
			}
			if !yield(payload, err) || err != nil {
				return
			}
		}
	}
	pull, stop := iter.Pull2(iter.Seq2[[]byte, error](all))
	payload, err, ok := pull()
	if err != nil {
		stop()
		return nil, nil, err
	}
	if !ok {
		stop()
		return nil, nil, usage("", "%s has no payload", describeSource(source.file))
	}
	first := true
	return func() ([]byte, error, bool) {
		if first {
			first = false
			return payload, nil, true
		}
		return pull()
	}, stop, nil
}

func (s *sending) checkAll(ctx context.Context, source *payloadOptions) error {
	n := 0
	for payload, err := range source.payloads(s.app.IO.In) {
		n++
		if ctx.Err() != nil {
			return fmt.Errorf("nothing was sent: %w", ctx.Err())
		}
		if err == nil {
			_, err = s.check(payload)
		}
		if err != nil {
			return fmt.Errorf("nothing was sent: message %d of %s: %w", n, describeSource(source.file), err)
		}
	}
	return nil
}

// one sends one message, and prints its id and how long the confirm took.
func (s *sending) one(ctx context.Context, next func() ([]byte, error, bool)) error {
	payload, _, _ := next()
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	begun := time.Now()
	var elapsed time.Duration
	var failed error
	id, err := s.outlet.write(waiting, payload, func(err error) { elapsed, failed = time.Since(begun), err })
	if err == nil {
		s.outlet.flush(waiting)
		err = failed
	}
	if err != nil {
		return s.outlet.explain(err)
	}
	s.total.Sent, s.total.IDs, s.total.ElapsedMS = 1, []string{id}, milliseconds(elapsed)
	if s.app.Format() != FormatText {
		err = s.app.PrintJSON(s.total)
	} else {
		err = s.app.Printf("%s %s id=%s confirmed %s\n", s.verb, s.target, id, short(elapsed))
	}
	if err != nil {
		return fmt.Errorf("%s was %s and confirmed, but printing that failed: %w", id, s.verb, err)
	}
	return nil
}

// many sends messages without waiting for the confirm of each.
func (s *sending) many(ctx context.Context, next func() ([]byte, error, bool), source *payloadOptions) error {
	bar := s.app.StartProgress(s.verb, source.total())
	defer bar.End()
	begun := time.Now()
	n, stopped := s.feed(ctx, next, bar)
	s.flush(ctx)
	bar.End()
	elapsed := time.Since(begun)
	s.total.ElapsedMS = milliseconds(elapsed)
	if err := s.print(elapsed); err != nil {
		return err
	}
	if stopped != nil {
		of := describeSource(source.file)
		if !source.lines {
			of = strconv.Itoa(source.total())
		}
		stopped = fmt.Errorf("stopped at message %d of %s: %w", n, of, s.outlet.explain(stopped))
	}
	return s.verdict(ctx, stopped)
}

// flush waits for the outcomes of what was written, and for lastWait after ctx has ended: the summary reports what is
// known.
func (s *sending) flush(ctx context.Context) {
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(s.timeout, lastWait))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lastWait, cancel) })
	defer stop()
	s.outlet.flush(waiting)
}

// feed writes messages until there are no more, and returns the number of the last. A message that the broker refuses
// is counted and does not stop the others. An error did: no connection, no confirm in time, the end of ctx, a wrong
// payload.
func (s *sending) feed(ctx context.Context, next func() ([]byte, error, bool), bar *term.Progress) (int, error) {
	for n := 1; ; n++ {
		payload, err, ok := next()
		if !ok || err != nil {
			return n, err
		}
		if err := s.pace.wait(ctx); err != nil {
			return n, err
		}
		if s.written != nil {
			return n, s.written // nobody reads the outcomes
		}
		if err := s.write(ctx, payload); err != nil {
			return n, err
		}
		if s.oneByOne {
			s.flush(ctx)
		}
		if len(s.begun) > 0 && time.Since(s.begun[0]) > s.timeout {
			return n + 1, fmt.Errorf("%w within %v: %w", leveret.ErrUnconfirmed, s.timeout, context.DeadlineExceeded)
		}
		bar.Add(1)
	}
}

// write writes one message. An error means that the others cannot be sent either.
func (s *sending) write(ctx context.Context, payload []byte) error {
	waiting, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var id string
	begun := time.Now()
	id, err := s.outlet.write(waiting, payload, func(err error) {
		s.begun = s.begun[1:]
		s.outcome(id, begun, err)
	})
	switch {
	case err == nil:
		s.begun = append(s.begun, begun)
		return nil
	case ctx.Err() != nil, exitOf(err) == ExitUnreachable, exitOf(err) == ExitTimeout:
		return err
	default:
		s.outcome(id, begun, err)
		return nil
	}
}

// verdict is the error of the command. stopped says why no more messages were sent.
func (s *sending) verdict(ctx context.Context, stopped error) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s and confirmed", s.total.Sent, s.verb)
	if s.total.Unconfirmed > 0 {
		fmt.Fprintf(&text, ", %d perhaps (unconfirmed)", s.total.Unconfirmed)
	}
	if s.total.Failed > 0 {
		fmt.Fprintf(&text, ", %d not", s.total.Failed)
	}
	var first error
	if s.first != nil {
		first = s.outlet.explain(s.first)
	}
	cause := cmp.Or(first, stopped)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", &text, ctx.Err())
	case cause == nil:
		return nil
	case s.total.Sent == 0 && s.total.Unconfirmed == 0 && s.total.Failed <= 1:
		return cause
	}
	code := ExitPartial
	if s.total.Sent == 0 {
		code = exitOf(cause)
	}
	switch {
	case first == nil:
		return Fail(code, nextOf(cause), "%s; %w", &text, stopped)
	case stopped == nil:
		return Fail(code, nextOf(cause), "%s; first failure: %w", &text, first)
	default:
		return Fail(code, nextOf(cause), "%s; first failure: %w; %w", &text, first, stopped)
	}
}

func (s *sending) print(elapsed time.Duration) error {
	switch s.app.Format() {
	case FormatJSON:
		return s.app.PrintJSON(s.total)
	case FormatJSONL:
		return s.written // each outcome has its line
	default:
		ok := s.total.Sent
		text := fmt.Sprintf("%s %d %s confirmed in %s, %s/s", s.verb, ok, s.target, short(elapsed), term.Count(float64(ok)/elapsed.Seconds()))
		if n := s.total.Unconfirmed; n > 0 {
			text += fmt.Sprintf("; %d perhaps %s", n, s.verb)
		}
		if n := s.total.Failed; n > 0 {
			text += fmt.Sprintf("; %d not %s", n, s.verb)
		}
		return s.app.Printf("%s\n", text)
	}
}

func nextOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Next
	}
	return ""
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
