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

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// sending is one run of send or publish.
type sending struct {
	app      *App
	contract leveret.Contract
	via      leveret.Contract // the same, or what takes it through a retry tier
	options  []leveret.SendOption
	pace     *pace
	check    *checker
	timeout  time.Duration
	verb     string
	oneByOne bool // the next message may be long in coming: what became of the one before is told first

	begun   []time.Time // when those began that have no outcome yet, oldest first
	total   sent        // of all that has an outcome; IDs for -o json alone
	first   error       // of the first that was not confirmed
	written error       // of standard output
}

// sent is what send and publish print under -o json, and a line of under -o jsonl.
type sent struct {
	Contract    string   `json:"contract"`
	Sent        int      `json:"sent"`
	Failed      int      `json:"failed"`      // certainly not sent
	Unconfirmed int      `json:"unconfirmed"` // sent or not, nobody knows
	IDs         []string `json:"ids"`         // of what is confirmed
	ElapsedMS   float64  `json:"elapsed_ms"`
	Error       string   `json:"error,omitempty"` // of a line
}

// outcome takes down what became of one message, and tells it under -o jsonl.
func (s *sending) outcome(m *leveret.Message, begun time.Time, err error) {
	one := sent{Contract: s.total.Contract, IDs: []string{}, ElapsedMS: milliseconds(time.Since(begun))}
	switch {
	case err == nil:
		one.Sent, one.IDs = 1, []string{m.ID}
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
	switch s.app.Format() {
	case FormatJSON:
		s.total.IDs = append(s.total.IDs, one.IDs...)
	case FormatJSONL:
		if s.written == nil {
			s.written = s.app.PrintJSON(one)
		}
	case FormatText: // has a summary
	}
}

// lastWait is how long an interrupted command waits for the confirms of what it has sent.
const lastWait = 5 * time.Second

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
	defer s.app.close(ctx, conn.Close)
	if s.via != s.contract {
		if err := s.app.declareDelay(ctx, conn, s.contract); err != nil {
			return s.app.explain(err)
		}
	}
	client, err := s.app.clientOn(conn, s.via)
	if err != nil {
		return err
	}
	defer s.app.close(ctx, client.Close)
	if source.total() == 1 {
		return s.one(ctx, client, payloads)
	}
	s.oneByOne = s.app.Format() == FormatJSONL && (s.pace != nil || source.file == "-")
	return s.many(ctx, client, payloads, source)
}

// checked returns the payloads as they will travel. A file is read and checked to its end before anything is sent;
// standard input is checked as it comes, the first payload at once.
func (s *sending) checked(ctx context.Context, source *payloadOptions) (next func() ([]byte, error, bool), stop func(), err error) {
	if source.lines && source.file != "-" {
		if err := s.checkAll(ctx, source); err != nil {
			return nil, nil, err
		}
	}
	all := func(yield func([]byte, error) bool) {
		for payload, err := range source.payloads(s.app.IO.In) {
			if err == nil {
				payload, err = s.check.check(payload)
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
		return nil, nil, usage("", "%s holds no payload", describeSource(source.file))
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
			_, err = s.check.check(payload)
		}
		if err != nil {
			return fmt.Errorf("message %d of %s, nothing was sent: %w", n, describeSource(source.file), err)
		}
	}
	return nil
}

func (s *sending) one(ctx context.Context, client *leveret.Client, next func() ([]byte, error, bool)) error {
	payload, _, _ := next()
	m := leveret.NewMessage(ctx, s.via, payload, s.options...)
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	begun := time.Now()
	if err := client.Send(ctx, m); err != nil {
		return s.explain(err)
	}
	elapsed := time.Since(begun)
	name := s.contract.Spec().Name
	var err error
	if s.app.Format() != FormatText {
		err = s.app.PrintJSON(sent{Contract: name, Sent: 1, IDs: []string{m.ID}, ElapsedMS: milliseconds(elapsed)})
	} else {
		err = s.app.Printf("%s %s id=%s confirmed %s\n", s.verb, name, m.ID, short(elapsed))
	}
	if err != nil {
		return fmt.Errorf("%s is %s and confirmed, but to say so fails: %w", m.ID, s.verb, err)
	}
	return nil
}

// many sends through a pipeline: the next message does not wait for the confirm of the one before.
func (s *sending) many(ctx context.Context, client *leveret.Client, next func() ([]byte, error, bool), source *payloadOptions) error {
	s.total = sent{Contract: s.contract.Spec().Name, IDs: []string{}}
	pipeline := client.Pipeline(func(m *leveret.Message, err error) {
		begun := s.begun[0]
		s.begun = s.begun[1:]
		s.outcome(m, begun, err)
	})
	bar := s.app.StartProgress(s.verb, source.total())
	defer bar.End()
	begun := time.Now()
	n, stopped := s.feed(ctx, pipeline, next, bar)
	s.flush(ctx, pipeline)
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
		stopped = fmt.Errorf("it ended at message %d of %s: %w", n, of, s.explain(stopped))
	}
	return s.verdict(ctx, stopped)
}

// flush waits for what was handed over, though ctx has ended: the summary tells what is known.
func (s *sending) flush(ctx context.Context, pipeline *leveret.Pipeline) {
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(s.timeout, lastWait))
	defer cancel()
	_ = pipeline.Flush(waiting) // its errors are those of the outcomes
}

// feed hands messages over until there are no more, and returns how many it came to. A message that the broker does not
// take is counted, and does not keep the others. What keeps them is returned: no connection, no confirm in time, an end of
// ctx, a payload that is wrong.
func (s *sending) feed(ctx context.Context, pipeline *leveret.Pipeline, next func() ([]byte, error, bool), bar *term.Progress) (int, error) {
	for n := 1; ; n++ {
		payload, err, ok := next()
		if !ok || err != nil {
			return n, err
		}
		if err := s.pace.wait(ctx); err != nil {
			return n, err
		}
		if s.written != nil {
			return n, s.written // nobody hears of more
		}
		m, begun := leveret.NewMessage(ctx, s.via, payload, s.options...), time.Now()
		if err := s.handOver(ctx, pipeline, m); err != nil {
			if ctx.Err() != nil || exitOf(err) == ExitUnreachable || exitOf(err) == ExitTimeout {
				return n, err
			}
			s.outcome(m, begun, err)
			continue
		}
		s.begun = append(s.begun, begun)
		if s.oneByOne {
			s.flush(ctx, pipeline)
		}
		if len(s.begun) > 0 && time.Since(s.begun[0]) > s.timeout {
			return n + 1, fmt.Errorf("%w within %v: %w", leveret.ErrUnconfirmed, s.timeout, context.DeadlineExceeded)
		}
		bar.Add(1)
	}
}

func (s *sending) handOver(ctx context.Context, pipeline *leveret.Pipeline, m *leveret.Message) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return pipeline.Write(ctx, m)
}

// verdict is what the command ends with. What stopped it says why there are no more than these.
func (s *sending) verdict(ctx context.Context, stopped error) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%d %s and confirmed", s.total.Sent, s.verb)
	if s.total.Unconfirmed > 0 {
		fmt.Fprintf(&text, ", %d perhaps (unconfirmed)", s.total.Unconfirmed)
	}
	if s.total.Failed > 0 {
		fmt.Fprintf(&text, ", %d not", s.total.Failed)
	}
	first := s.explain(s.first) // nil where there is none
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
		return Fail(code, nextOf(cause), "%s; the first of those: %w", &text, first)
	default:
		return Fail(code, nextOf(cause), "%s; the first of those: %w; %w", &text, first, stopped)
	}
}

func (s *sending) print(elapsed time.Duration) error {
	switch s.app.Format() {
	case FormatJSON:
		return s.app.PrintJSON(s.total)
	case FormatJSONL:
		return s.written // a line for each outcome
	default:
		ok := s.total.Sent
		text := fmt.Sprintf("%s %d %s confirmed in %s, %s/s", s.verb, ok, s.total.Contract, short(elapsed), term.Count(float64(ok)/elapsed.Seconds()))
		if n := s.total.Unconfirmed; n > 0 {
			text += fmt.Sprintf("; %d perhaps %s", n, s.verb)
		}
		if n := s.total.Failed; n > 0 {
			text += fmt.Sprintf("; %d not %s", n, s.verb)
		}
		return s.app.Printf("%s\n", text)
	}
}

// explain says what to do about an error.
func (s *sending) explain(err error) error {
	spec := s.contract.Spec()
	switch {
	case errors.Is(err, leveret.ErrUnroutable):
		return Fail(ExitNotFound, s.app.Name+" queues", "no queue takes %s: %w", spec.Name, err)
	default:
		return s.app.explain(err)
	}
}

func nextOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Next
	}
	return ""
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
