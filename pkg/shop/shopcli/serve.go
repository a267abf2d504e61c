package shopcli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/schema"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// Serve returns the command that runs one of the services: `serve payment` does the same as paymentd.
func Serve(app *cli.App) *cobra.Command {
	app.AddKeys(programs.Keys()...) // every command may read the services' file
	var names []string
	cmd := &cobra.Command{
		Use:     "serve SERVICE",
		GroupID: "run",
		Short:   "Run one of the services, as its own binary does",
		Long:    "Run one of the services until SIGTERM or Ctrl-C, then let it finish its work.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return cli.Fail(cli.ExitUsage, app.Name+" serve --help", "there is no service %q%s", args[0], schema.DidYouMean(args[0], names))
		},
	}
	var l leash
	l.flags(cmd)
	for _, p := range programs.All() {
		one := p.Command()
		one.Use = p.Service.Name()
		names = append(names, one.Use)
		cli.NeedsNothing(one) // it reads its own settings
		for _, sub := range one.Commands() {
			cli.NeedsNothing(sub)
		}
		l.hold(one)
		cmd.AddCommand(one)
	}
	return cmd
}

// exit gives a service's error the exit code that its own binary would have.
func exit(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*cli.Error](err); ok {
		return err
	}
	return cli.Fail(cli.ExitCode(service.ExitCode(err)), "", "%w", err)
}
