package cli_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// What `contracts show` says of a contract's way is what is declared: the binding from its exchange to its queue.
func TestContractsShowTheRealRoute(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		address         *leveret.Address
		shared, isolate topology.Binding
	}{
		"none": {
			nil,
			topology.Binding{Exchange: "commands", RoutingKey: "x.do", Queue: "x.do"},
			topology.Binding{Exchange: "commands.x", RoutingKey: "x.do", Queue: "x.do"},
		},
		"a queue": {
			&leveret.Address{Queue: "legacy-queue"},
			topology.Binding{Exchange: "commands", RoutingKey: "x.do", Queue: "legacy-queue"},
			topology.Binding{Exchange: "commands.x", RoutingKey: "x.do", Queue: "legacy-queue"},
		},
		"a key": {
			&leveret.Address{RoutingKey: "do"},
			topology.Binding{Exchange: "commands", RoutingKey: "do", Queue: "x.do"},
			topology.Binding{Exchange: "commands.x", RoutingKey: "do", Queue: "x.do"},
		},
		"an exchange": {
			&leveret.Address{Exchange: "legacy"},
			topology.Binding{Exchange: "legacy", RoutingKey: "x.do", Queue: "x.do"},
			topology.Binding{Exchange: "legacy", RoutingKey: "x.do", Queue: "x.do"},
		},
		"somebody else's queue": { // which the default exchange reaches without a binding
			&leveret.Address{Queue: "theirs", External: true},
			topology.Binding{RoutingKey: "theirs", Queue: "theirs"},
			topology.Binding{RoutingKey: "theirs", Queue: "theirs"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var options []leveret.ContractOption
			if test.address != nil {
				options = append(options, leveret.At(*test.address))
			}
			service := leveret.NewService("x", leveret.Handles(leveret.NewCommand[int]("x.do", options...)))
			for layout, want := range map[topology.Layout]topology.Binding{topology.Shared: test.shared, topology.Isolated: test.isolate} {
				var out, errs bytes.Buffer
				exit := cli.Run(t.Context(), cli.Config{
					Catalog: leveret.NewCatalog(service), Name: "kitchen",
					Args:    []string{"contracts", "show", "x.do", "-o", "json", "--broker-layout", string(layout)},
					Streams: &term.Streams{Out: &out, Err: &errs, Env: func(string) string { return "" }},
				})
				require.Zero(t, exit, errs.String())
				var shown struct {
					Exchange   string   `json:"exchange"`
					RoutingKey string   `json:"routing_key"`
					Queues     []string `json:"queues"`
				}
				require.NoError(t, json.Unmarshal(out.Bytes(), &shown))
				require.Equal(t, []string{want.Queue}, shown.Queues)
				require.Equal(t, want, topology.Binding{Exchange: shown.Exchange, RoutingKey: shown.RoutingKey, Queue: shown.Queues[0]})
				if want.Exchange != "" {
					declared := service.Topology(topology.Names{Layout: layout}, topology.Classic)
					require.Contains(t, declared.Bindings, want)
				}
			}
		})
	}
}
