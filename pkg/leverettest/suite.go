package leverettest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Suite checks that a leveret.Sender or a leveret.Caller keeps its contract, on which handlers rely. Make one for
// each that is checked: it belongs to the service [Suite.Client], and what it sends and calls is served by
// [Suite.Handlers].
type Suite struct {
	do       *leveret.Command[SuitePayload]
	done     *leveret.Event[SuitePayload]
	ask      *leveret.Request[SuitePayload, SuitePayload]
	foreign  *leveret.Command[SuitePayload] // undeclared, as is the next
	stranger *leveret.Request[SuitePayload, SuitePayload]
	client   *leveret.Service
	handlers *leveret.Handlers
	began    chan struct{} // a handler waits for its context to end

	mu       sync.Mutex
	received []*leveret.Message
}

// SuitePayload is what everything in a suite carries. Do says what the handler of a request does.
type SuitePayload struct {
	Do string `json:"do"`
	N  int    `json:"n"`
}

// Validate implements the interface by which payloads are validated.
func (p SuitePayload) Validate() error {
	if p.N < 0 {
		return errors.New("n: must not be negative")
	}
	return nil
}

var errSuiteDeclined = leveret.NewError(leveret.FailedPrecondition, "card_declined", "the card was declined")

// patience is for what takes milliseconds on an idle machine.
const patience = 2 * time.Minute

// NewSuite makes a suite.
func NewSuite() *Suite {
	s := &Suite{
		do:       leveret.NewCommand[SuitePayload]("suite.do"),
		done:     leveret.NewEvent[SuitePayload]("suite-client.done"),
		ask:      leveret.NewRequest[SuitePayload, SuitePayload]("suite.ask", leveret.Timeout(patience)),
		foreign:  leveret.NewCommand[SuitePayload]("suite.foreign"),
		stranger: leveret.NewRequest[SuitePayload, SuitePayload]("suite.stranger"),
		began:    make(chan struct{}),
	}
	s.client = leveret.NewService("suite-client", leveret.Sends(s.do), leveret.Publishes(s.done), leveret.Calls(s.ask))
	s.handlers = leveret.NewHandlers(leveret.NewService("suite",
		leveret.Handles(s.do), leveret.SubscribesTo(s.done), leveret.Answers(s.ask)), leveret.HandlersConfig{})
	s.do.Handle(s.handlers, s.take)
	s.done.Subscribe(s.handlers, s.take)
	s.ask.Answer(s.handlers, s.answer)
	return s
}

// Client returns the service to which the sender or caller belongs.
func (s *Suite) Client() *leveret.Service { return s.client }

// Handlers returns what serves the messages. The test runs them behind the transport: in a worker, for instance.
func (s *Suite) Handlers() *leveret.Handlers { return s.handlers }

// Ask returns the request that is called, for a caller that has to know its types.
func (s *Suite) Ask() *leveret.Request[SuitePayload, SuitePayload] { return s.ask }

func (s *Suite) take(ctx context.Context, _ SuitePayload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, leveret.MessageFrom(ctx))
	return nil
}

func (s *Suite) answer(ctx context.Context, p SuitePayload) (SuitePayload, error) {
	_ = s.take(ctx, p)
	switch p.Do {
	case "wait":
		select {
		case s.began <- struct{}{}:
		case <-ctx.Done(): // the test has given up on it
		}
		<-ctx.Done()
		return p, ctx.Err()
	case "decline":
		return p, fmt.Errorf("card 7: %w", errSuiteDeclined)
	case "doubt":
		return p, fmt.Errorf("the bank: %w", leveret.ErrUnconfirmed)
	case "panic":
		panic("a secret")
	default:
		return SuitePayload{Do: "answered", N: p.N + 1}, nil
	}
}

func (s *Suite) messages() []*leveret.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.received)
}

// A SenderCase is a sender to be checked.
type SenderCase struct {
	Sender leveret.Sender
	// Taken returns the messages that the sender has taken so far; the suite asks again until it finds what it looks for.
	// Default: those that have reached the suite's handlers.
	Taken func() []*leveret.Message
	// Disconnect takes from the sender what it needs to take a message, and returns when it is gone; a sender that can
	// always take one has none.
	Disconnect func()
}

// TestSender checks a sender: nil means that it has taken the message, with its ids and headers; every error has a code
// and wraps what ended it; what ended before it was sent is not in doubt; nothing undeclared or invalid is sent; and
// several goroutines can send at once.
func (s *Suite) TestSender(tb testing.TB, c SenderCase) {
	tb.Helper()
	if c.Taken == nil {
		c.Taken = s.messages
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 4*patience)
	defer cancel()
	t := suiteTest{tb}

	t.nil("a command", s.do.Send(ctx, c.Sender, SuitePayload{N: 1}, leveret.MessageID("suite-1"), leveret.Header("tenant", "blue"), leveret.Conversation("talk")))
	t.nil("an event", s.done.Publish(ctx, c.Sender, SuitePayload{N: 2}, leveret.MessageID("suite-2")))
	for id, contract := range map[string]leveret.Contract{"suite-1": s.do, "suite-2": s.done} {
		m := t.taken(c, id)
		t.is(m.Contract == contract, "the message %s is taken as another contract's: %v", id, m.Contract)
		if id == "suite-1" {
			t.is(m.Headers["tenant"] == "blue", "a header of the message is lost: %v", m.Headers)
			t.is(m.ConversationID == "talk" && m.CorrelationID == "talk", "the conversation is lost: %q, %q", m.ConversationID, m.CorrelationID)
			t.is(string(m.Body) == `{"do":"","n":1}`, "the body is not what was sent: %s", m.Body)
		}
	}

	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			t.nil("one of fifty", s.do.Send(ctx, c.Sender, SuitePayload{N: i}, leveret.MessageID(fmt.Sprintf("suite-many-%d", i))))
		})
	}
	all.Wait()
	for i := range 50 {
		t.taken(c, fmt.Sprintf("suite-many-%d", i))
	}

	t.refused("an invalid payload", s.do.Send(ctx, c.Sender, SuitePayload{N: -1}, leveret.MessageID("never")), leveret.InvalidArgument)
	t.refused("an undeclared contract", s.foreign.Send(ctx, c.Sender, SuitePayload{}, leveret.MessageID("never")), leveret.FailedPrecondition, leveret.ErrUndeclared)
	ended, end := context.WithCancel(ctx)
	end()
	t.refused("a context that has ended", s.do.Send(ended, c.Sender, SuitePayload{}, leveret.MessageID("never")), nil, context.Canceled)
	if c.Disconnect != nil {
		c.Disconnect()
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		t.refused("no connection", s.do.Send(short, c.Sender, SuitePayload{}, leveret.MessageID("never")), nil, context.DeadlineExceeded)
	}
	for _, m := range c.Taken() {
		t.is(m.ID != "never", "a message was taken though Send returned an error that is not leveret.ErrOutcomeUnknown")
	}
}

// A CallerCase is a caller to be checked.
type CallerCase struct {
	Caller leveret.Caller
	// Disconnect cuts the caller off from the other side, for good, and returns when it is cut off. Optional.
	Disconnect func()
}

// TestCaller checks a caller: the reply is the handler's; an error of the other side is leveret.IsRemote and has its
// code, its reason and its message; every other error is not, has a code, and wraps what ended it;
// leveret.ErrOutcomeUnknown holds where a request may have been handled, and nowhere else; and several goroutines can
// call at once.
func (s *Suite) TestCaller(tb testing.TB, c CallerCase) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 4*patience)
	defer cancel()
	t := suiteTest{tb}
	call := func(ctx context.Context, do string, n int, options ...leveret.SendOption) (SuitePayload, error) {
		return s.ask.Call(ctx, c.Caller, SuitePayload{Do: do, N: n}, options...)
	}

	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			reply, err := call(ctx, "", i)
			t.nil("one of fifty calls", err)
			t.is(reply.N == i+1, "call %d has the reply to another: %d", i, reply.N)
		})
	}
	all.Wait()
	_, err := call(ctx, "", 1, leveret.MessageID("suite-1"), leveret.Header("tenant", "blue"), leveret.Conversation("talk"))
	t.nil("a call", err)
	i := slices.IndexFunc(s.messages(), func(m *leveret.Message) bool { return m.ID == "suite-1" })
	if t.is(i >= 0, "the id of the request is lost") {
		m := s.messages()[i]
		t.is(m.Headers["tenant"] == "blue" && m.ConversationID == "talk", "headers or conversation are lost: %v, %q", m.Headers, m.ConversationID)
		t.is(!m.Deadline.IsZero(), "the deadline is lost")
	}

	_, err = call(ctx, "decline", 1)
	t.remote("an error of the handler", err, leveret.FailedPrecondition, errSuiteDeclined)
	t.is(!errors.Is(err, leveret.ErrOutcomeUnknown), "the handler has refused, and the outcome is said to be unknown: %v", err)
	_, err = call(ctx, "doubt", 1)
	t.remote("a doubt of the handler", err, leveret.Unavailable, leveret.ErrOutcomeUnknown)
	_, err = call(ctx, "panic", 1)
	t.remote("a panic of the handler", err, leveret.Internal)

	before := len(s.messages())
	_, err = call(ctx, "", -1)
	t.refused("an invalid request", err, leveret.InvalidArgument)
	_, err = s.stranger.Call(ctx, c.Caller, SuitePayload{})
	t.refused("an undeclared request", err, leveret.FailedPrecondition, leveret.ErrUndeclared)
	ended, end := context.WithCancel(ctx)
	end()
	_, err = call(ended, "", 1)
	t.refused("a context that has ended", err, leveret.Canceled, context.Canceled)
	late, end := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer end()
	_, err = call(late, "", 1)
	t.refused("a deadline that has passed", err, leveret.DeadlineExceeded, context.DeadlineExceeded)
	t.is(len(s.messages()) == before, "a request that was refused was handled all the same")

	calling, giveUp := context.WithCancel(ctx)
	defer giveUp()
	began, err := s.interrupted(calling, call, giveUp)
	t.interrupted("cancelled in the handler", began, err, leveret.Canceled, context.Canceled)
	for limit := 2 * time.Second; ; limit *= 2 {
		calling, cancel := context.WithTimeout(ctx, limit)
		began, err := s.interrupted(calling, call, func() { <-calling.Done() })
		cancel()
		if !began && limit < patience/2 && errors.Is(err, leveret.DeadlineExceeded) {
			continue // a busy machine takes long
		}
		t.interrupted("deadline in the handler", began, err, leveret.DeadlineExceeded, context.DeadlineExceeded)
		break
	}
	if c.Disconnect == nil {
		return
	}
	began, err = s.interrupted(ctx, call, c.Disconnect)
	t.interrupted("connection lost during the call", began, err, leveret.Unavailable, nil)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = call(short, "", 1)
	t.refused("no connection", err, nil, context.DeadlineExceeded)
}

// interrupted makes a call and interrupts it while its handler runs. It returns how the call ended, and whether the
// handler had begun before.
func (s *Suite) interrupted(
	ctx context.Context, call func(context.Context, string, int, ...leveret.SendOption) (SuitePayload, error), interrupt func(),
) (began bool, err error) {
	ended := make(chan error, 1)
	go func() {
		_, err := call(ctx, "wait", 1)
		ended <- err
	}()
	select {
	case <-s.began:
		interrupt()
		return true, <-ended
	case err := <-ended:
		return false, err
	}
}

// suiteTest reports what a suite finds.
type suiteTest struct{ testing.TB }

func (t suiteTest) is(ok bool, format string, args ...any) bool {
	t.Helper()
	if !ok {
		t.Errorf(format, args...)
	}
	return ok
}

func (t suiteTest) nil(what string, err error) {
	t.Helper()
	t.is(err == nil, "%s: %v", what, err)
}

// coded checks an error: its code, where one is given, and that it is all of these.
func (t suiteTest) coded(what string, err error, code error, wraps ...error) {
	t.Helper()
	if !t.is(err != nil, "%s: there is no error", what) {
		return
	}
	t.is(leveret.CodeOf(err) != leveret.Unknown, "%s: the error has no code: %v", what, err)
	for _, target := range append(wraps, code, leveret.CodeOf(err)) {
		t.is(target == nil || errors.Is(err, target), "%s: the error is not %q: %v", what, target, err)
	}
}

// interrupted checks the error of a call that was interrupted after its handler had begun.
func (t suiteTest) interrupted(what string, began bool, err error, code error, wraps error) {
	t.Helper()
	if t.is(began, "%s: the call ended before it reached the handler: %v", what, err) {
		t.coded(what, err, code, wraps, leveret.ErrOutcomeUnknown)
	}
}

// refused checks the error of what was not sent.
func (t suiteTest) refused(what string, err error, code error, wraps ...error) {
	t.Helper()
	t.coded(what, err, code, wraps...)
	t.is(!leveret.IsRemote(err), "%s: the error is said to be the other side's: %v", what, err)
	t.is(!errors.Is(err, leveret.ErrOutcomeUnknown), "%s: nothing was sent, and the outcome is said to be unknown: %v", what, err)
}

// remote checks the other side's error.
func (t suiteTest) remote(what string, err error, code error, wraps ...error) {
	t.Helper()
	t.coded(what, err, code, wraps...)
	t.is(leveret.IsRemote(err), "%s: the error is not the other side's: %v", what, err)
	t.is(errors.Unwrap(err) == nil, "%s: something has travelled that does not: %v", what, err)
}

// taken waits for a message that the sender has taken.
func (t suiteTest) taken(c SenderCase, id string) *leveret.Message {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		all := c.Taken()
		if i := slices.IndexFunc(all, func(m *leveret.Message) bool { return m.ID == id }); i >= 0 {
			return all[i]
		}
		if time.Now().After(deadline) {
			t.Fatalf("Send returned nil, and the message %s was not taken", id)
		}
	}
}
