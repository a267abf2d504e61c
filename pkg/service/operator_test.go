package service_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/topology"
)

// A service answers operators in both layouts, as the user that the documentation describes, and works as well where its
// user may not be asked, or where it declares nothing.
func TestOperatorsAreAnswered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, row, declare string
		layout             topology.Layout
		without            string // what the user may not read
		answers            bool
	}{
		{"shared", "declares", "true", topology.Shared, "", true},
		{"isolated", "declares, isolated", "true", topology.Isolated, "", true},
		{"not allowed", "declares", "true", topology.Shared, "operators|", false},
		{"declares only its queue", "declares", "false", topology.Shared, "", true},
		{"declares only its queue, isolated", "serves, isolated", "false", topology.Isolated, "", true},
		{"may declare nothing", "serves", "false", topology.Shared, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broker := leverettest.Broker(t)
			permissions := documented(t, c.row)
			if c.without != "" {
				permissions["read"] = strings.ReplaceAll(permissions["read"], c.without, "")
			}
			conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{broker}, Layout: c.layout})
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
			if c.declare == "false" {
				declared := restricted.Topology(conn.Names(), topology.Classic)
				require.NoError(t, rabbit.NewDeclarer(conn.Rabbit()).Declare(t.Context(), declared))
			}
			handled := make(chan struct{}, 1)
			var rt *service.Runtime
			r := start(t, service.Program{Service: restricted, Version: "1.2.3", Setup: func(_ context.Context, given *service.Runtime) error {
				rt = given
				pay.Handle(rt.Handlers, func(context.Context, unit) error {
					handled <- struct{}{}
					return nil
				})
				paid.Subscribe(rt.Handlers, func(context.Context, unit) error { return nil })
				quote.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
				return nil
			}}, map[string]string{"broker.url": restrictedUser(t, broker, permissions), "broker.declare": c.declare, "broker.layout": string(c.layout)})
			r.log.await(t, "ready")
			require.NoError(t, pay.Send(t.Context(), rt.Client, unit{1}))
			<-handled

			asker := operator.NewAsker(conn)
			t.Cleanup(func() { _ = asker.Close(context.WithoutCancel(t.Context())) })
			answered := func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				reports, err := asker.Ask(ctx, "payment", 1)
				require.NoError(t, err)
				return len(reports) == 1 && reports[0].Version == "1.2.3" && len(reports[0].Queues) == 1 && reports[0].Queues[0].Handled == 1
			}
			if c.answers {
				require.Eventually(t, answered, time.Minute, 10*time.Millisecond)
			} else {
				require.False(t, answered())
			}
			require.Equal(t, 0, r.end(t))
			for _, record := range r.log.records(t, "not consuming") {
				require.Equal(t, "DEBUG", record["level"], "it is nothing to warn about")
			}
		})
	}
}
