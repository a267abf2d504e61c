package cli_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A bakery keeps what it sells: a ledger recognises what it has handled for ever, a diary for a day, and a crier does not
// say; a chart reads the stream.

type sold struct {
	Loaf int `json:"loaf"`
}

var (
	breadSold  = leveret.NewEvent[sold]("bread.sold", leveret.Kept(time.Hour, 100_000_000))
	breadStale = leveret.NewEvent[sold]("bread.stale", leveret.Kept(time.Hour, 1_000_000))
	breadBaked = leveret.NewEvent[sold]("bread.baked")

	bread  = leveret.NewService("bread", leveret.Publishes(breadSold, breadStale, breadBaked))
	ledger = leveret.NewService("ledger", leveret.SubscribesTo(breadSold, breadStale), leveret.Remembers(leveret.Forever))
	diary  = leveret.NewService("diary", leveret.SubscribesAs("news", breadSold), leveret.Remembers(24*time.Hour))
	crier  = leveret.NewService("crier", leveret.SubscribesTo(breadSold))
	chart  = leveret.NewService("chart", leveret.Reads(breadSold))
	bakery = leveret.NewCatalog(bread, ledger, diary, crier, chart)
)

const (
	soldStream  = "bread.sold.kept"
	staleStream = "bread.stale.kept" // which is small
	ledgerQueue = "ledger.on.bread.sold"
	diaryQueue  = "diary.news.on.bread.sold"
)

// open declares what the bakery's services need.
func open(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
	tb.Helper()
	openIn(topology.Names{})(ctx, tb, conn)
}

func openIn(names topology.Names) func(context.Context, testing.TB, *rabbit.Conn) {
	return func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		d := rabbit.NewDeclarer(conn)
		for _, s := range bakery.Services() {
			require.NoError(tb, d.Declare(ctx, s.Topology(names, topology.Classic)))
		}
	}
}

// sell publishes events from number from to before number to, with that much in their bodies besides, to a stream alone.
func sell(tb testing.TB, url, stream string, from, to, size int, sent time.Time) {
	tb.Helper()
	onBroker(tb, url, func(ctx context.Context, tb testing.TB, conn *rabbit.Conn) {
		tb.Helper()
		publisher := rabbit.NewPublisher(conn, rabbit.PublisherConfig{})
		p := publisher.Pipeline()
		for i := from; i < to; i++ {
			require.NoError(tb, p.Publish(ctx, &rabbit.Publication{RoutingKey: stream, Mandatory: true, Publishing: rabbit.Publishing{
				MessageId: fmt.Sprint("loaf-", i), Type: "bread.sold", ContentType: "application/json", DeliveryMode: 2,
				Body:    fmt.Appendf(nil, `{"loaf":%d%*s}`, i, size, ""),
				Headers: rabbit.Table{"mine": "kept", "leveret-sent-at": sent.UTC().Format(time.RFC3339Nano)},
			}}, nil))
		}
		require.NoError(tb, p.Flush(ctx))
		require.NoError(tb, publisher.Close(ctx))
	})
}

// sellCommand sells so many loaves, sent so long ago: sell 20 1h.
func sellCommand(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ago, err := time.ParseDuration(args[1])
	ts.Check(err)
	sell(tbOf(ts), ts.Getenv("LEVERET_BROKER_URL"), soldStream, 0, n, 0, time.Now().Add(-ago))
}

// openCommand opens the bakery.
func openCommand(ts *testscript.TestScript, _ bool, _ []string) {
	onBroker(tbOf(ts), ts.Getenv("LEVERET_BROKER_URL"), open)
}

// stateCommand writes the state file of a replay on this script's broker: state TEMPLATE FILE.
func stateCommand(ts *testscript.TestScript, _ bool, args []string) {
	broker, err := url.Parse(ts.Getenv("LEVERET_BROKER_URL"))
	ts.Check(err)
	here := fmt.Sprintf(`"broker": %q, "virtual_host": %q`, broker.Host, broker.Path[1:])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Replace(ts.ReadFile(args[0]), "HERE", here, 1)), 0o600))
}
