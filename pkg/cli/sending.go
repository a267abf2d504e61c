package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

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

	begun     map[*leveret.Message]time.Time // what has no outcome yet
	confirmed int
	ids       []string // of what was confirmed, for -o json
	failed    int      // how many were not
	first     error    // of the first of these
	written   error    // of standard output
}

// outcome takes down what became of one message, and tells it under -o jsonl.
func (s *sending) outcome(m *leveret.Message, err error) {
	one := sent{Contract: s.contract.Spec().Name, IDs: []string{}, ElapsedMS: milliseconds(time.Since(s.begun[m]))}
	delete(s.begun, m)
	if err == nil {
		s.confirmed++
		one.Sent, one.IDs = 1, []string{m.ID}
	} else {
		s.failed++
		one.Failed, one.Error = 1, err.Error()
		if s.first == nil {
			s.first = err
		}
	}
	switch s.app.Format() {
	case FormatJSON:
		s.ids = append(s.ids, one.IDs...)
	case FormatJSONL:
		if s.written == nil {
			s.written = s.app.PrintJSON(one)
		}
	case FormatText: // has a summary
	}
}

// sent is what send and publish print under -o json, and a line of under -o jsonl. IDs are those of what was confirmed.
type sent struct {
	Contract  string   `json:"contract"`
	Sent      int      `json:"sent"`
	Failed    int      `json:"failed"`
	IDs       []string `json:"ids"`
	ElapsedMS float64  `json:"elapsed_ms"`
	Error     string   `json:"error,omitempty"` // of a line
}

// lastWait is how long an interrupted command waits for the confirms of what it has sent.
const lastWait = 5 * time.Second

func (s *sending) run(ctx context.Context, source *payloadOptions) error {
	payloads, stop, err := s.checked(source)
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
	return s.many(ctx, client, payloads, source.total())
}

// checked returns the payloads as they will travel. A file is read and checked to its end before anything is sent;
// standard input is checked as it comes, the first payload at once.
func (s *sending) checked(source *payloadOptions) (next func() ([]byte, error, bool), stop func(), err error) {
	if source.lines && source.file != "-" {
		if err := s.checkAll(source); err != nil {
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

func (s *sending) checkAll(source *payloadOptions) error {
	n := 0
	for payload, err := range source.payloads(s.app.IO.In) {
		n++
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
	if s.app.Format() != FormatText {
		return s.app.PrintJSON(sent{Contract: name, Sent: 1, IDs: []string{m.ID}, ElapsedMS: milliseconds(elapsed)})
	}
	return s.app.Printf("%s %s id=%s confirmed %s\n", s.verb, name, m.ID, short(elapsed))
}

// many sends through a pipeline: the next message does not wait for the confirm of the one before.
func (s *sending) many(ctx context.Context, client *leveret.Client, next func() ([]byte, error, bool), total int) error {
	s.begun = map[*leveret.Message]time.Time{}
	pipeline := client.Pipeline()
	pipeline.OnOutcome = s.outcome
	bar := s.app.StartProgress(s.verb, total)
	defer bar.End()
	begun := time.Now()
	inputErr := s.feed(ctx, pipeline, next, bar)
	s.flush(ctx, pipeline)
	bar.End()
	return s.summary(ctx, time.Since(begun), inputErr)
}

// flush waits for what was handed over, though ctx has ended: the summary tells what is known.
func (s *sending) flush(ctx context.Context, pipeline *leveret.Pipeline) {
	waiting, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(s.timeout, lastWait))
	defer cancel()
	_ = pipeline.Flush(waiting) // its errors are those of the outcomes
}

// feed hands messages over until there are no more. A message that the broker does not take is counted, and does not
// keep the others; no connection, or an end of ctx, does.
func (s *sending) feed(ctx context.Context, pipeline *leveret.Pipeline, next func() ([]byte, error, bool), bar *Progress) error {
	for {
		payload, err, ok := next()
		if !ok || err != nil {
			return err
		}
		if err := s.pace.wait(ctx); err != nil {
			return err
		}
		if s.written != nil {
			return s.written // nobody hears of more
		}
		m := leveret.NewMessage(ctx, s.via, payload, s.options...)
		s.begun[m] = time.Now()
		if err := s.handOver(ctx, pipeline, m); err != nil {
			if ctx.Err() != nil || exitOf(err) == ExitUnreachable || exitOf(err) == ExitTimeout {
				return err
			}
			s.outcome(m, err)
			continue
		}
		if s.oneByOne {
			s.flush(ctx, pipeline)
		}
		bar.Add(1)
	}
}

func (s *sending) handOver(ctx context.Context, pipeline *leveret.Pipeline, m *leveret.Message) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return pipeline.Send(ctx, m)
}

func (s *sending) summary(ctx context.Context, elapsed time.Duration, inputErr error) error {
	name := s.contract.Spec().Name
	ok := s.confirmed
	if err := s.print(name, ok, elapsed); err != nil {
		return err
	}
	if inputErr == nil && s.failed == 0 {
		return nil
	}
	cause := inputErr
	if cause == nil {
		cause = s.first
	}
	cause = s.explain(cause)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%d %s and confirmed: %w", ok, s.verb, ctx.Err())
	case ok == 0:
		return cause
	default:
		return Fail(ExitPartial, nextOf(cause), "%d %s and confirmed, %d failed; the first: %w", ok, s.verb, max(s.failed, 1), cause)
	}
}

func (s *sending) print(name string, ok int, elapsed time.Duration) error {
	switch s.app.Format() {
	case FormatJSON:
		ids := s.ids
		if ids == nil {
			ids = []string{}
		}
		return s.app.PrintJSON(sent{Contract: name, Sent: ok, Failed: s.failed, IDs: ids, ElapsedMS: milliseconds(elapsed)})
	case FormatJSONL:
		return s.written // a line for each outcome
	default:
		text := fmt.Sprintf("%s %d %s confirmed in %s, %s/s", s.verb, ok, name, short(elapsed), count(float64(ok)/elapsed.Seconds()))
		if s.failed > 0 {
			text += fmt.Sprintf("; %d failed", s.failed)
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
