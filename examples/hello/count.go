package hello

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/cli"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// CountCommand returns the command count, which calls CountGreetings over the configured transport.
func CountCommand(app *cli.App) *cobra.Command {
	app.AddKeys(slices.Concat(keys(), greeterKeys())...)
	cmd := &cobra.Command{
		Use:   "count NAME",
		Short: "Print how often somebody was greeted",
		Long:  "Print how often somebody was greeted: asked over RabbitMQ, HTTP or gRPC.",
		Args:  cli.Arguments(1, 1),
		RunE:  func(cmd *cobra.Command, args []string) error { return count(cmd.Context(), app, args[0]) },
	}
	app.AddFlags(cmd, "greeter")
	return cmd
}

// greeterKeys returns the settings that say how the greeter is called, and where.
func greeterKeys() []config.Key {
	return []config.Key{
		{
			Name: "greeter.transport", Type: config.String, Default: "amqp", OneOf: []string{"amqp", "http", "grpc"},
			Usage: "how to call the greeter: by request and reply over RabbitMQ, over HTTP or over gRPC",
		},
		{Name: "greeter.http_url", Type: config.URLs, Default: "http://127.0.0.1:8080", Usage: "where it serves over HTTP"},
		{Name: "greeter.grpc_address", Type: config.Strings, Default: "127.0.0.1:9080", Usage: "where it serves over gRPC"},
	}
}

func count(ctx context.Context, app *cli.App, name string) (err error) {
	caller, closeCaller, err := newCaller(ctx, app)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeCaller()) }()
	reply, err := CountGreetings.Call(ctx, caller, CountQuery{Name: name}) // the same line over all three
	switch {
	case err != nil:
		return err
	case app.Format() != cli.FormatText:
		return app.PrintJSON(reply)
	default:
		return app.Printf("greetings: %d\n", reply.Greetings)
	}
}

// newCaller returns the configured way to the greeter, and the function that closes it.
func newCaller(ctx context.Context, app *cli.App) (leveret.Caller, func() error, error) {
	var to struct {
		Transport string   `config:"transport"`
		URLs      []string `config:"http_url"`
		Addresses []string `config:"grpc_address"`
	}
	if err := app.Config().Decode("greeter", &to); err != nil {
		return nil, nil, err
	}
	switch to.Transport {
	case "http":
		c, err := httprpc.NewCaller(httprpc.CallerConfig{Service: Guest, URLs: to.URLs})
		return c, c.Close, err
	case "grpc":
		c, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{Service: Guest, Addresses: to.Addresses}, CountMethod)
		return c, c.Close, err
	default:
		conn, err := app.Connect(ctx)
		if err != nil {
			return nil, nil, err
		}
		closing := context.WithoutCancel(ctx)
		c, err := leveret.NewClient(conn, Guest, leveret.ClientConfig{})
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close(closing))
		}
		return c, func() error { return errors.Join(c.Close(closing), conn.Close(closing)) }, nil
	}
}
