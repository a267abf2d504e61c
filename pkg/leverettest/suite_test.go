package leverettest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

func TestRecorderIsASender(t *testing.T) {
	t.Parallel()
	suite := leverettest.NewSuite()
	rec := &leverettest.Recorder{Service: suite.Client()}
	suite.TestSender(t, leverettest.SenderCase{Sender: rec, Taken: rec.Messages})
}

func TestStubCallerIsACaller(t *testing.T) {
	t.Parallel()
	suite := leverettest.NewSuite()
	stub := &leverettest.StubCaller{Service: suite.Client()}
	stub.Serve(suite.Handlers())
	suite.TestCaller(t, leverettest.CallerCase{Caller: stub})
}

// TestSuiteFindsFaults: a sender and a caller that break their contract do not pass.
func TestSuiteFindsFaults(t *testing.T) {
	t.Parallel()
	for fault, send := range map[string]sender{
		"takes nothing": func(context.Context, *leveret.Message, *leverettest.Recorder) error { return nil },
		"has no codes":  func(context.Context, *leveret.Message, *leverettest.Recorder) error { return errors.New("no") },
		"does not look at its context": func(ctx context.Context, m *leveret.Message, r *leverettest.Recorder) error {
			return r.Send(context.WithoutCancel(ctx), m)
		},
		"loses what it wraps": func(ctx context.Context, m *leveret.Message, r *leverettest.Recorder) error {
			return unwrapped(r.Send(ctx, m))
		},
		"is always in doubt": func(ctx context.Context, m *leveret.Message, r *leverettest.Recorder) error {
			return doubtful(r.Send(ctx, m))
		},
		"loses headers": func(ctx context.Context, m *leveret.Message, r *leverettest.Recorder) error {
			bare := *m
			bare.Headers = nil
			return r.Send(ctx, &bare)
		},
	} {
		finds(t, "a sender that "+fault, func(tb testing.TB) {
			tb.Helper()
			suite := leverettest.NewSuite()
			rec := &leverettest.Recorder{Service: suite.Client()}
			suite.TestSender(tb, leverettest.SenderCase{Sender: faulty{rec, send}, Taken: rec.Messages})
		})
	}
	for fault, change := range map[string]func(error) error{
		"loses what it wraps": unwrapped,
		"is never in doubt":   certain,
		"is always in doubt":  doubtful,
	} {
		finds(t, "a caller that "+fault, func(tb testing.TB) {
			tb.Helper()
			suite := leverettest.NewSuite()
			stub := &leverettest.StubCaller{Service: suite.Client()}
			stub.Serve(suite.Handlers())
			suite.TestCaller(tb, leverettest.CallerCase{Caller: callerFunc(func(ctx context.Context, m *leveret.Message) error {
				return change(stub.Call(ctx, m))
			})})
		})
	}
}

type sender func(context.Context, *leveret.Message, *leverettest.Recorder) error

type faulty struct {
	rec  *leverettest.Recorder
	send sender
}

func (f faulty) Send(ctx context.Context, m *leveret.Message) error { return f.send(ctx, m, f.rec) }

type callerFunc func(context.Context, *leveret.Message) error

func (f callerFunc) Call(ctx context.Context, m *leveret.Message) error { return f(ctx, m) }

func unwrapped(err error) error {
	if err == nil {
		return nil
	}
	return leveret.Errorf(leveret.CodeOf(err), "%s", err)
}

func doubtful(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", leveret.ErrUnconfirmed, err)
}

// certain takes the doubt out of an error, and leaves the rest.
func certain(err error) error {
	if err == nil || !errors.Is(err, leveret.ErrOutcomeUnknown) {
		return err
	}
	return leveret.NewError(leveret.CodeOf(err), "", err.Error())
}

// finds runs a check that must fail, in a bubble, where waiting takes no time.
func finds(t *testing.T, what string, check func(testing.TB)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		found := &finding{TB: t}
		done := make(chan struct{})
		go func() { // the check may end its goroutine
			defer close(done)
			check(found)
		}()
		<-done
		require.True(t, found.Failed(), "%s passes", what)
	})
}

// finding is a test that may fail.
type finding struct {
	testing.TB

	mu     sync.Mutex
	failed bool
}

func (f *finding) Errorf(string, ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = true
}

func (f *finding) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func (f *finding) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}
