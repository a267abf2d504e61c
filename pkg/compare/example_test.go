package compare_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/measure"
)

// Two ways are compared at a fixed rate and flat out. Their receivers write what they do into logs.
func ExampleComparison() {
	call := func(_ context.Context, _ string) error { return nil } // queues.AuthorizePayment.Call(ctx, caller, …)
	c, err := compare.New(compare.Config{
		Ways: []compare.Way{
			{Name: "http", Label: "HTTP/1.1", Do: call},
			{Name: "amqp", Label: "AMQP request/reply", Do: call},
		},
		Source: measure.NewEffectReader("effects/*.log"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	part := compare.Part{Handler: "nothing"}
	if part.Speed, err = c.Speed(ctx, compare.SpeedConfig{Rounds: 6, For: time.Second}); err != nil {
		fmt.Println(err)
		return
	}
	part.Ways, part.Ratios = c.Ways(), compare.Ratios(part.Speed)
	result := compare.Result{Format: compare.Format, Began: time.Now(), Machine: compare.ThisMachine(), Parts: []compare.Part{part}}
	_ = result.Markdown(os.Stdout)
}
