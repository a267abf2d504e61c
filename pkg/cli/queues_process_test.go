package cli_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// The queues of single processes: a row for each that there is, none where that cannot be known, and no dead letters,
// retries or complaints.
func TestQueuesOfProcesses(t *testing.T) {
	t.Parallel()
	menuChanged := leveret.NewEvent[baked]("menu.changed")
	service := leveret.NewService("menu", leveret.Publishes(menuChanged), leveret.SubscribesPerProcess(menuChanged))
	system := leveret.NewCatalog(service)
	address := leverettest.Broker(t)
	run := func(args ...string) *command {
		t.Helper()
		c := kitchenAt(t, address, args...)
		c.catalog = system
		require.Equal(t, cli.ExitOK, c.run(t.Context()), c.err.String())
		return c
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(stop)
	for _, instance := range []string{"cellar/1", "attic/2"} {
		conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{address}, Instance: instance, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		h := leveret.NewHandlers(service, leveret.HandlersConfig{})
		menuChanged.Subscribe(h, func(context.Context, baked) error { return nil }, leveret.PerProcess())
		ready := make(chan struct{})
		w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{OnReady: func() { close(ready) }})
		require.NoError(t, err)
		running.Go(func() {
			_ = w.Run(ctx)
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			_ = conn.Close(closing)
		})
		<-ready
	}
	management := []string{"--broker-management-url", leverettest.Node(t).ManagementURL()}
	type row struct {
		Name, Kind, Contract, Service string
		Declared                      bool
	}
	var rows []row
	list := func(args ...string) []row {
		rows = nil
		require.NoError(t, json.Unmarshal([]byte(run(append(args, "-o", "json")...).out.String()), &rows))
		return rows
	}
	require.Eventually(t, func() bool { // the management API is some seconds late
		list(append(management, "queues")...)
		return len(rows) == 2
	}, 2*patience, tick)
	for i, name := range []string{`^menu\.per-process\.on\.menu\.changed\.attic/2-\w{8}$`, `^menu\.per-process\.on\.menu\.changed\.cellar/1-\w{8}$`} {
		require.Regexp(t, name, rows[i].Name)
		require.Equal(t, row{rows[i].Name, "process", "menu.changed", "menu", true}, rows[i])
	}
	name := rows[1].Name
	require.Len(t, list(append(management, "queues", "--all")...), 2, "each once")
	require.Equal(t, name, list(append(management, "queues", name)...)[0].Name)
	require.Len(t, list(append(management, "queues", "menu.per-process.on.menu.changed.cellar*")...), 1)
	require.Len(t, list(append(management, "queues", "menu.per-process.*")...), 2)
	shown := run(append(management, "queues", "show", name)...).out.String()
	require.Regexp(t, `(?s)^`+regexp.QuoteMeta(name)+`\nkind +menu\.changed to one process of menu\n.*type +classic`, shown)

	require.Empty(t, list("queues", "--broker-management-url", noManagement))
	c := kitchenAt(t, address, "queues", "show", name, "--broker-management-url", noManagement)
	c.catalog = system
	require.Equal(t, cli.ExitError, c.run(t.Context()))
	require.Contains(t, c.err.String(), name+" is a queue of one process, which only the management API can show")

	require.NotContains(t, run(append(management, "status")...).out.String(), "per-process")
	require.Contains(t, run("contracts", "show", "menu.changed").out.String(), "menu.per-process.on.menu.changed.*\n")
	stop()
	running.Wait()
	require.Eventually(t, func() bool { return len(list(append(management, "queues")...)) == 0 }, 2*patience, tick)
}
