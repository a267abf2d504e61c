package leverettest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

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

// handler is a set with one handler, for press.print.
func handler(f func(context.Context, page) error) *leveret.Handlers {
	h := leveret.NewHandlers(press, leveret.HandlersConfig{})
	printPage.Handle(h, f)
	return h
}
