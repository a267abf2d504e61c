package leverettest

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leveretmq/leveret/pkg/devbroker"
)

// shared is the node that this test binary uses. It is released by the end of the process.
var shared = sync.OnceValues(func() (*devbroker.Broker, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	b, _, err := devbroker.Shared(ctx)
	return b, err
})

// Node returns the real RabbitMQ node that all test binaries of one `go test` share: see [devbroker.Shared]. The first
// call starts it, which takes some seconds; where there is no RabbitMQ, the test fails with the commands that help. A
// test that stops or kills its node starts its own with [devbroker.Start].
func Node(tb testing.TB) *devbroker.Broker {
	tb.Helper()
	b, err := shared()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// Broker returns the AMQP URL of a virtual host of the test's own on [Node]. It is empty at first, and deleted with
// everything in it when the test ends.
func Broker(tb testing.TB) string {
	tb.Helper()
	node := Node(tb)
	name := strings.ToLower("test-" + rand.Text())
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	address, err := node.VHost(ctx, name)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := node.DeleteVHost(ctx, name); err != nil {
			tb.Errorf("delete the test's virtual host: %v", err)
		}
	})
	return address
}

// VHost returns the virtual host that an AMQP URL names, as the management API wants it.
func VHost(tb testing.TB, address string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal("not an AMQP URL")
	}
	if name := strings.TrimPrefix(u.Path, "/"); name != "" {
		return name
	}
	return "/"
}
