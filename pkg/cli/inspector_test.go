package cli

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/management"
)

// That the time is over says nothing of the queues whose turn had not come.
func TestStatusOfQueuesNotAskedFor(t *testing.T) {
	t.Parallel()
	conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{leverettest.Broker(t)}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })
	over, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	s := &survey{facts: &health.Facts{}, inspector: newInspector(conn, time.Second)}
	q := health.Queue{Name: "oven.bake"}
	s.queue(over, &q)
	s.unseen()
	require.Equal(t, health.Queue{Name: "oven.bake"}, q)
	require.Equal(t, []health.Unseen{{What: "the queues oven.bake", Why: "the broker did not answer for all queues within 20s"}}, s.facts.Unseen)
}

// The broker takes every address that is made of the names of queues.
func TestNamesThatFitAnAddress(t *testing.T) {
	t.Parallel()
	api, err := management.New(management.Config{URL: leverettest.Node(t).ManagementURL()})
	require.NoError(t, err)
	for _, name := range []string{"a.b", "Käse und Brot", "order.place.dlq"} {
		l := &look{}
		for range 3000 {
			l.queues = append(l.queues, shownQueue{name: name})
			names := l.named()
			if names == nil {
				break
			}
			l.last = map[string]int{name: len(names)}
		}
		require.Greater(t, l.last[name], 100, name)
		l.queues = l.queues[:l.last[name]]
		_, err := api.Queues(t.Context(), "/", l.named()...)
		require.NotErrorIs(t, err, management.ErrUnreachable)
		if err != nil {
			require.NotContains(t, err.Error(), "414", name)
		}
	}
}
