package leverettest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/leveretmq/leveret/pkg/leveret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The contracts that the tests are about.
var (
	printPage = leveret.NewCommand[page]("press.print", leveret.Retry(leveret.RetryPolicy{
		Attempts: 3, Delays: []time.Duration{time.Second, time.Minute},
	}))
	printed = leveret.NewEvent[page]("press.printed")
	price   = leveret.NewRequest[page, quote]("press.price", leveret.Timeout(time.Minute))
	ink     = leveret.NewRequest[page, quote]("ink.price", leveret.Timeout(time.Minute), leveret.Idempotent())

	press = leveret.NewService("press",
		leveret.Handles(printPage), leveret.Answers(price),
		leveret.SubscribesTo(printed), leveret.SubscribesAs("archive", printed),
		leveret.Publishes(printed), leveret.Calls(ink))
)

type page struct {
	Text string `json:"text"`
}

func (p page) Validate() error {
	if p.Text == "" {
		return errors.New("text: is required")
	}
	return nil
}

type quote struct {
	Cents int `json:"cents"`
}

func worker(tb testing.TB, config leveret.WorkerConfig) *leveret.Worker {
	tb.Helper()
	w, err := leveret.NewWorker(nil, press, config)
	require.NoError(tb, err)
	return w
}

// handler is a worker with one handler for press.print.
func handler(tb testing.TB, h func(context.Context, page) error) *leveret.Worker {
	tb.Helper()
	w := worker(tb, leveret.WorkerConfig{})
	printPage.Handle(w, h)
	return w
}
