package measure_test

import (
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/measure"
)

func ExampleLedger() {
	var l measure.Ledger
	now := time.Now()
	for _, id := range []string{"1", "2", "3"} {
		l.Ask(id, now)
	}
	l.Report("1", measure.OK, now)
	l.Report("2", measure.OK, now) // and never done
	l.Report("3", measure.Unknown, now)
	l.Effect(measure.Effect{ID: "1", At: now})
	l.Effect(measure.Effect{ID: "3", At: now})
	b := l.Balance()
	fmt.Println("lost:", b.Lost, "recovered:", b.Recovered)
	// Output: lost: 1 recovered: 1
}
