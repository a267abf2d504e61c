package docs_test

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// LogLine is a line of text in a queue of theirs.
var LogLine = leveret.NewCommand[string]("plant.log", leveret.Encoded(leveret.Text()),
	leveret.At(leveret.Address{Queue: "log-lines", External: true}))

// TestTextQueue: their program sends lines, and finds ours in its queue.
func TestTextQueue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.ch.QueueDeclare("log-lines", false, false, false, false, nil)
	require.NoError(t, err)
	plant := leveret.NewService("plant", leveret.Handles(LogLine), leveret.Sends(LogLine))
	require.NoError(t, leveret.NewCatalog(plant).Err())
	require.NoError(t, LogLine.Send(t.Context(), b.client(t, plant), "from ours"))
	deliveries, err := b.ch.Consume("log-lines", "theirs", true, false, false, false, nil)
	require.NoError(t, err)
	d := <-deliveries
	require.Equal(t, []string{"text/plain; charset=utf-8", "from ours"}, []string{d.ContentType, string(d.Body)})
	require.NoError(t, b.ch.Cancel("theirs", false))

	lines := make(chan string, 1)
	h := leveret.NewHandlers(plant, leveret.HandlersConfig{})
	LogLine.Handle(h, func(_ context.Context, line string) error { lines <- line; return nil })
	b.run(t, h)
	require.NoError(t, b.ch.PublishWithContext(t.Context(), "", "log-lines", true, false, amqp.Publishing{Body: []byte("from theirs")}))
	require.Equal(t, "from theirs", <-lines)
}
