package cli_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// A small system of services: an oven that bakes and knows prices, a waiter and a bell that hear when something is
// done.

type money struct {
	Amount   int64  `json:"amount" jsonschema:"minimum=0"`
	Currency string `json:"currency" jsonschema:"enum=EUR,enum=USD"`
}

type topping struct {
	Name      string `json:"name"`
	UnitPrice money  `json:"unit_price"`
}

type bake struct {
	DishID   string    `json:"dish_id" jsonschema:"format=uuid"`
	Dish     string    `json:"dish" jsonschema:"minLength=1"`
	Minutes  int32     `json:"minutes" jsonschema:"minimum=1,maximum=600"`
	Toppings []topping `json:"toppings,omitempty"`
}

func (b bake) Validate() error {
	if b.Dish == "air" {
		return leveret.NewError(leveret.InvalidArgument, "nothing_to_bake", "dish: air cannot be baked")
	}
	return nil
}

type baked struct {
	DishID string `json:"dish_id"`
}

type priceQuery struct {
	Dish string `json:"dish"`
}

type price struct {
	Price money `json:"price"`
}

var (
	ovenBake  = leveret.NewCommand[bake]("oven.bake", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{100 * time.Millisecond, time.Minute}}))
	ovenClean = leveret.NewCommand[string]("oven.clean", leveret.Retry(leveret.RetryPolicy{Attempts: 1, Delays: []time.Duration{time.Minute}}))
	ovenBaked = leveret.NewEvent[baked]("oven.baked", leveret.RetryOn(leveret.NotFound))
	ovenPrice = leveret.NewRequest[priceQuery, price]("oven.price", leveret.Timeout(patience), leveret.Idempotent())

	oven    = leveret.NewService("oven", leveret.Handles(ovenBake, ovenClean), leveret.Answers(ovenPrice), leveret.Publishes(ovenBaked))
	waiter  = leveret.NewService("waiter", leveret.Sends(ovenBake), leveret.Calls(ovenPrice), leveret.SubscribesTo(ovenBaked), leveret.SubscribesAs("bell", ovenBaked))
	catalog = leveret.NewCatalog(oven, waiter)
)

var errBurnt = leveret.NewError(leveret.FailedPrecondition, "burnt", "it is burnt")

// cleanCommand is a command of the program's own, with its own setting and help group.
func cleanCommand(a *cli.App) *cobra.Command {
	a.AddKeys(config.Key{Name: "kitchen.soap", Type: config.String, Secret: true, Usage: "what to clean with"})
	cmd := &cobra.Command{
		Use: "clean", Short: "Clean the kitchen", GroupID: "run", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			t := term.NewTable("WHAT", "PLATES#")
			t.Add(term.Cell{Text: "clean", Paint: term.Green}, term.Plain("12"))
			t.Add(term.Plain("dirty"))
			a.Note("cleaning")
			bar := a.StartProgress("cleaned", 2)
			defer bar.End()
			bar.Add(1)
			bar.Set(2)
			bar.End()
			if a.Format() != cli.FormatText {
				return a.PrintJSON(map[string]int{"clean": 12})
			}
			if err := a.PrintTable(t); err != nil {
				return err
			}
			return cli.Fail(cli.ExitPartial, "kitchen clean", "%w", errors.New("some plates are dirty"))
		},
	}
	return cmd
}

// serve runs both services on a broker until the returned function is called, or the test ends.
func serve(tb testing.TB, url string) (stop func()) {
	tb.Helper()
	return serveAnd(tb, url, func() {})
}

// serveAnd calls asked when the oven is asked for a price.
func serveAnd(tb testing.TB, url string, asked func()) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}, Name: "kitchen"})
	require.NoError(tb, err)
	var workers sync.WaitGroup
	for _, s := range []*leveret.Service{oven, waiter} {
		h := leveret.NewHandlers(s, leveret.HandlersConfig{})
		switch s {
		case oven:
			ovenBake.Handle(h, bakeIt)
			ovenClean.Handle(h, func(context.Context, string) error { return nil })
			ovenPrice.Answer(h, func(ctx context.Context, q priceQuery) (price, error) {
				asked()
				return priceOf(ctx, q)
			})
		case waiter:
			ovenBaked.Subscribe(h, func(context.Context, baked) error { return nil })
			ovenBaked.Subscribe(h, func(context.Context, baked) error { return nil }, leveret.As("bell"))
		}
		ready := make(chan struct{})
		w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{Concurrency: 4, OnReady: func() { close(ready) }})
		require.NoError(tb, err)
		workers.Go(func() { _ = w.Run(ctx) })
		select {
		case <-ready:
		case <-time.After(patience):
			require.FailNow(tb, "the worker is not ready")
		}
	}
	return sync.OnceFunc(func() {
		cancel()
		workers.Wait()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		require.NoError(tb, conn.Close(closing))
	})
}

// patience is for what takes milliseconds on an idle machine.
const patience = 2 * time.Minute

func bakeIt(_ context.Context, b bake) error {
	if b.Dish == "coal" {
		return errBurnt
	}
	return nil
}

func priceOf(ctx context.Context, q priceQuery) (price, error) {
	switch q.Dish {
	case "coal":
		return price{}, errBurnt
	case "slow":
		<-ctx.Done()
		return price{}, ctx.Err()
	default:
		return price{money{250, "EUR"}}, nil
	}
}
