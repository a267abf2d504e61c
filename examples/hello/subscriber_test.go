package hello_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"

	"github.com/leveretmq/leveret/examples/hello"
)

// A second service, as docs/guide.md shows it.

// Postcards writes a card to everybody who was greeted.
var Postcards = leveret.NewService("postcards", leveret.SubscribesTo(hello.PersonGreeted))

// System is the whole system with the second service.
var System = leveret.NewCatalog(hello.Service, hello.Guest, Postcards)

// A Writer writes postcards.
type Writer interface {
	Write(ctx context.Context, greetingID, text string) error
}

// PostcardsProgram returns the second service as a program, which is a binary of its own.
func PostcardsProgram(writer Writer) service.Program {
	return service.Program{
		Service:  Postcards,
		About:    "postcardsd writes a card to everybody who was greeted.",
		Defaults: map[string]string{"health.address": "127.0.0.1:8091"}, // hellod has 8090
		Setup: func(_ context.Context, rt *service.Runtime) error {
			hello.PersonGreeted.Subscribe(rt.Handlers, func(ctx context.Context, p hello.PersonGreetedEvent) error {
				return writer.Write(ctx, p.GreetingID, p.Text)
			})
			return nil
		},
	}
}

// cards are the ids of the greetings for which a card was written.
type cards chan string

func (c cards) Write(_ context.Context, greetingID, _ string) error {
	c <- greetingID
	return nil
}

// TestASecondServiceSubscribes: a subscriber gets every event from its first start on, also those that are published while
// it is down. It does not get those from before.
func TestASecondServiceSubscribes(t *testing.T) {
	t.Parallel()
	require.NoError(t, System.Err())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	url := leverettest.Broker(t)
	start(t, url)
	user := leveret.NewService("user", leveret.Sends(hello.Greet), leveret.Calls(hello.CountGreetings))
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}})
	require.NoError(t, err)
	client, err := leveret.NewClient(conn, user, leveret.ClientConfig{})
	require.NoError(t, err)
	// greet returns after the event has been published: the greeter, which subscribes to it as well, has counted it.
	greet := func(id string) {
		require.NoError(t, hello.Greet.Send(ctx, client, hello.Greeting{GreetingID: id, Name: id}))
		require.Eventually(t, func() bool {
			_, err := hello.CountGreetings.Call(ctx, client, hello.CountQuery{Name: id})
			return err == nil
		}, 2*time.Minute, 10*time.Millisecond)
	}
	written := make(cards)

	greet("before its first start")
	_, stop := launch(t, PostcardsProgram(written), url)
	greet("while it runs")
	require.Equal(t, "while it runs", <-written, "what was published before its first start is kept nowhere")
	stop()
	greet("while it is down")
	launch(t, PostcardsProgram(written), url)
	require.Equal(t, "while it is down", <-written)
	require.NoError(t, client.Close(ctx))
	require.NoError(t, conn.Close(ctx))
}

// TestTheCatalogListsIt: the command line of the system says who subscribes.
func TestTheCatalogListsIt(t *testing.T) {
	t.Parallel()
	var printed bytes.Buffer
	cli.Run(t.Context(), cli.Config{
		Catalog: System, Name: "hello", Args: []string{"contracts"},
		Streams: &term.Streams{In: strings.NewReader(""), Out: &printed, Err: &printed},
	})
	require.Regexp(t, `(?m)^hello\.greeted +event +hello +hello\.PersonGreetedEvent +hello, postcards *$`, printed.String())
}
