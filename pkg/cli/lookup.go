package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// lookup finds out which work queues exist. A user who may write to retry.return alone would not learn it by publishing:
// what finds no queue there goes to retry.lost.
type lookup struct {
	app   *App
	conn  *leveret.Conn
	known map[string]bool
}

func newLookup(a *App, conn *leveret.Conn) *lookup {
	return &lookup{app: a, conn: conn, known: map[string]bool{}}
}

// exists reports whether a queue exists. Where this user may not ask, neither the broker nor the management API, it
// does: the message goes where it would go later.
func (l *lookup) exists(ctx context.Context, queue string) bool {
	known, ok := l.known[queue]
	if !ok {
		known = l.find(ctx, queue)
		l.known[queue] = known
	}
	return known
}

func (l *lookup) find(ctx context.Context, queue string) bool {
	_, err := l.conn.Rabbit().Inspect(ctx, queue)
	if !errors.Is(err, rabbit.ErrRefused) { // RabbitMQ 4.3 refuses it to a user who has no right to the queue
		return !errors.Is(err, rabbit.ErrNotFound)
	}
	api, err := l.app.management()
	if err != nil {
		return true
	}
	err = api.Call(ctx, http.MethodGet, nil, &struct{}{}, "queues", l.app.settings.vhost(), queue)
	return !errors.Is(err, management.ErrNotFound)
}

// errGone is why a message is not returned.
var errGone = fmt.Errorf("its queue is gone: %w", rabbit.ErrUnroutable)
