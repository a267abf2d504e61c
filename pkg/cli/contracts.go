package cli

import (
	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// contractSummary is one line of `contracts`.
type contractSummary struct {
	Name    string   `json:"name"`
	Kind    string   `json:"kind"`
	Owner   string   `json:"owner"`
	Payload string   `json:"payload"`
	Reply   string   `json:"reply,omitempty"`
	Servers []string `json:"servers"`
}

func (a *App) contractsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:         "contracts",
		Aliases:     []string{"contract"},
		Short:       "List the contracts: what can be sent, and which service serves it",
		Args:        noSuchCommand,
		Annotations: map[string]string{runsAlone: "true"},
		RunE:        func(*cobra.Command, []string) error { return a.listContracts() },
	}
	cmd.AddCommand(a.contractsShowCommand(), a.contractsLockCommand(), a.contractsCheckCommand())
	return cmd
}

func (a *App) listContracts() error {
	var all []contractSummary
	for _, c := range a.Catalog.Contracts() {
		all = append(all, a.summary(c))
	}
	return PrintList(a, all, func() *term.Table {
		t := term.NewTable("NAME", "KIND", "OWNER", "PAYLOAD", "SERVED BY")
		for _, c := range all {
			payload := c.Payload
			if c.Reply != "" {
				payload += " -> " + c.Reply
			}
			t.Add(term.Painted(c.Name, term.Bold), term.Plain(c.Kind), term.Plain(c.Owner), term.Plain(payload), term.Plain(list(c.Servers)))
		}
		return t
	})
}

func (a *App) summary(c leveret.Contract) contractSummary {
	spec := c.Spec()
	s := contractSummary{
		Name: spec.Name, Kind: spec.Kind.String(), Owner: spec.Owner(), Payload: spec.Payload.String(),
		Servers: names(a.Catalog.ServicesWith(c, spec.Kind.ServerRole())),
	}
	if spec.Reply != nil {
		s.Reply = spec.Reply.String()
	}
	return s
}

func names(services []*leveret.Service) []string {
	all := make([]string, len(services))
	for i, s := range services {
		all[i] = s.Name()
	}
	return all
}

// names makes the names of exchanges and queues in the configured layout and namespace.
func (a *App) names() topology.Names { return a.settings.names }
