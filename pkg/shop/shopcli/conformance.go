package shopcli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/conformance"
	"github.com/leveretmq/leveret/pkg/devbroker"
	"github.com/leveretmq/leveret/pkg/schema"
)

// conformanceRule is what `conformance rules` prints under -o json: see docs/cli.md.
type conformanceRule struct {
	Rule   string           `json:"rule"`
	Role   conformance.Role `json:"role"`
	Should bool             `json:"should"`
	Text   string           `json:"text"`
	Link   string           `json:"link"`
}

// Conformance returns the commands that find out whether a client in any language keeps the rules of docs/wire.md.
func Conformance(app *cli.App) *cobra.Command {
	names := append(conformance.RoleNames(), "rules")
	cmd := &cobra.Command{
		Use:     "conformance ROLE -- COMMAND [ARGUMENT...]",
		GroupID: "run",
		Short:   "Find out whether a client in any language keeps the rules of docs/wire.md",
		Long: `Find out whether a client in any language keeps the rules of docs/wire.md.

Starts a private RabbitMQ and the client, drives it, and says of each rule whether it is kept, broken, or could not be tested.
Between the two stands a proxy that reads every frame, refuses a publish, or cuts the connection. Exit code 1 if a rule is
broken that says "must". The client and what it has started end with the command.

The client is a small program around the code to be judged. The help of each role says what it has to do.`,
		Example: fmt.Sprintf("  %[1]s conformance worker -- python3 worker.py\n  %[1]s conformance answerer --patience 30s -- node answerer.js\n"+
			"  %[1]s conformance rules worker", app.Name),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return cli.Fail(cli.ExitUsage, app.Name+" conformance --help", "there is no role %q%s", args[0], schema.DidYouMean(args[0], names))
		},
	}
	for _, role := range conformance.RoleNames() {
		cmd.AddCommand(conformanceRole(app, conformance.Role(role)))
	}
	cli.NeedsNothing(cmd)
	cmd.AddCommand(conformanceRules(app))
	return cmd
}

// roles say in a few words what a client is.
var roles = map[conformance.Role]string{
	conformance.Worker:   "a worker, which handles commands",
	conformance.Answerer: "an answerer, which answers requests",
	conformance.Listener: "a listener, which listens to events",
	conformance.Sender:   "a sender, which sends commands and publishes events",
	conformance.Caller:   "a caller, which makes requests",
}

func conformanceRole(app *cli.App, role conformance.Role) *cobra.Command {
	var patience time.Duration
	rules := conformance.Rules(role)
	cmd := &cobra.Command{
		Use:   string(role) + " -- COMMAND [ARGUMENT...]",
		Short: "Judge " + roles[role],
		Long: fmt.Sprintf("Find out whether a client keeps the rules %s to %s of docs/wire.md. COMMAND starts the client.\n\n%s",
			rules[0].ID, rules[len(rules)-1].ID, conformance.Protocol(role)),
		Example: fmt.Sprintf("  %[1]s conformance %[2]s -- python3 %[2]s.py\n  %[1]s conformance %[2]s --patience 30s -o json -- node %[2]s.js", app.Name, role),
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			help := cmd.CommandPath() + " --help"
			switch {
			case len(args) == 0:
				return cli.Fail(cli.ExitUsage, help, "COMMAND is missing: it starts the client")
			case patience < time.Second:
				return cli.Fail(cli.ExitUsage, help, "--patience is %s; it must be at least 1s", patience)
			}
			return runConformance(cmd.Context(), app, role, args, patience)
		},
	}
	cmd.Flags().DurationVar(&patience, "patience", conformance.DefaultPatience, "how long to wait for something that the client has to do")
	cli.NeedsNothing(cmd)
	return cmd
}

func conformanceRules(app *cli.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:       "rules [ROLE]",
		Short:     "List the rules",
		Long:      "List the rules, all of them or those of a role. They are those of docs/wire.md.",
		Args:      cli.Arguments(0, 1),
		ValidArgs: conformance.RoleNames(),
		Example:   fmt.Sprintf("  %[1]s conformance rules worker", app.Name),
		RunE: func(_ *cobra.Command, args []string) error {
			roles := conformance.RoleNames()
			if len(args) == 1 {
				roles = args
			}
			var all []conformanceRule
			for _, role := range roles {
				rules := conformance.Rules(conformance.Role(role))
				if len(rules) == 0 {
					return cli.Fail(cli.ExitUsage, app.Name+" conformance rules --help", "there is no role %q; roles are %s",
						role, strings.Join(conformance.RoleNames(), ", "))
				}
				for _, r := range rules {
					all = append(all, conformanceRule{r.ID, conformance.Role(role), r.Should, r.Text, "docs/wire.md#" + r.Link})
				}
			}
			return cli.PrintList(app, all, func() *term.Table {
				t := term.NewTable("RULE", "ROLE", "TEXT~")
				for _, r := range all {
					t.Add(term.Plain(r.Rule), term.Plain(string(r.Role)), term.Plain(r.Text))
				}
				return t
			})
		},
	}
	cli.NeedsNothing(cmd)
	return cmd
}

func runConformance(ctx context.Context, app *cli.App, role conformance.Role, command []string, patience time.Duration) (err error) {
	client, err := conformance.Exec(command[0], command[1:]...)
	if err != nil {
		return cli.Fail(cli.ExitUsage, "", "%w", err)
	}
	var notes io.Writer
	if app.Format() == cli.FormatText {
		notes = app.IO.Err
	}
	broker, err := devbroker.Start(ctx, devbroker.Config{Private: true, Output: notes})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close(context.WithoutCancel(ctx))) }()
	progress := app.StartProgress("judged", len(conformance.Rules(role)))
	report, err := conformance.Run(ctx, conformance.Config{
		Role: role, Client: client, URL: broker.URL(), Patience: patience, Stderr: app.IO.Err,
		Progress: func(conformance.Result) { progress.Add(1) },
	})
	progress.End()
	if err != nil {
		return err
	}
	if err := printConformance(app, report); err != nil {
		return err
	}
	if !report.OK {
		return &cli.Error{Exit: cli.ExitError} // the report says it all
	}
	return nil
}

func printConformance(app *cli.App, report conformance.Report) error {
	if app.Format() != cli.FormatText {
		return app.PrintJSON(report)
	}
	t := term.NewTable("RULE", "VERDICT", "TEXT~")
	for _, r := range report.Results {
		paint := map[conformance.State]term.Paint{conformance.Kept: term.Green, conformance.Broken: term.Red, conformance.NotTested: term.Yellow}[r.State]
		text := r.Text
		if r.Why != "" {
			text = r.Why + ". " + r.Text
		}
		t.Add(term.Plain(r.Rule), term.Painted(string(r.State), paint), term.Plain(text))
	}
	if err := app.PrintTable(t); err != nil {
		return err
	}
	return app.Printf("\n%d kept, %d broken, %d not tested, on RabbitMQ %s\n", report.Kept, report.Broken, report.NotTested, report.Broker)
}
