package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// sendOptions are the options of send and publish.
type sendOptions struct {
	payloadOptions
	headers []string
	id      string
	rate    string
	after   time.Duration
	timeout time.Duration
	raw     rawOptions
}

func (o *sendOptions) flags(cmd *cobra.Command) {
	o.payloadOptions.flags(cmd, true)
	f := cmd.Flags()
	f.StringArrayVarP(&o.headers, "header", "H", nil, "set a header, as `name=value`; repeatable")
	f.StringVar(&o.id, "id", "", "use this message id instead of a new one; receivers recognise duplicates by it")
	f.StringVar(&o.rate, "rate", "", "send no faster than this, such as `50/s`")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long to wait until the broker confirms a message")
	o.count = 1
}

func (a *App) sendCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "send COMMAND [PAYLOAD]",
		Short: "Send a command to the service that handles it",
		Long: "Send a command to the service that handles it. The payload is first checked against the command's JSON Schema. The\n" +
			"command counts as sent once the broker has confirmed that it is in the service's queue.\n\n" + jsonHelp + templateHelp,
		Example: fmt.Sprintf(`  %[1]s send %[2]s '{…}'
  %[1]s send %[2]s -f payload.json -n 100 --rate 50/s
  %[1]s send %[2]s -f payloads.jsonl
  %[1]s send --raw --exchange amq.topic --routing-key some.key 'any text'`, a.Name, a.some(leveret.KindCommand)),
		Args:              Arguments(0, 2),
		ValidArgsFunction: a.completeContract(leveret.KindCommand),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.raw.on {
				return a.sendRaw(cmd, o, args)
			}
			if err := o.raw.unused(cmd); err != nil {
				return err
			}
			return a.send(cmd, o, args, leveret.KindCommand)
		},
	}
	o.flags(cmd)
	o.raw.flags(cmd)
	cmd.Flags().DurationVar(&o.after, "after", 0, "deliver the command after this delay, which must be one of its retry delays")
	_ = cmd.RegisterFlagCompletionFunc("after", a.completeDelay)
	return cmd
}

func (a *App) publishCommand() *cobra.Command {
	var o sendOptions
	cmd := &cobra.Command{
		Use:   "publish EVENT [PAYLOAD]",
		Short: "Publish an event to the services that subscribe to it",
		Long: "Publish an event to the services that subscribe to it. The payload is first checked against the event's JSON Schema.\n" +
			"The event counts as published once the broker has confirmed it, even if no service subscribes to it.\n\n" + jsonHelp + templateHelp,
		Example:           fmt.Sprintf("  %[1]s publish %[2]s '{…}'\n  %[1]s publish %[2]s -f payloads.jsonl", a.Name, a.some(leveret.KindEvent)),
		Args:              Arguments(0, 2),
		ValidArgsFunction: a.completeContract(leveret.KindEvent),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.send(cmd, o, args, leveret.KindEvent)
		},
	}
	o.flags(cmd)
	return cmd
}

// send checks everything that can be checked without a broker, then connects and sends.
func (a *App) send(cmd *cobra.Command, o sendOptions, args []string, kind leveret.Kind) error {
	if len(args) == 0 {
		return a.noContract(cmd, kind)
	}
	c, err := a.contract(args[0], kind)
	if err != nil {
		return err
	}
	o.take(args[1:])
	s, err := a.sending(cmd, &o, fmt.Sprintf("%s contracts show %s --example", a.Name, args[0]), pastTense(kind))
	if err != nil {
		return err
	}
	check, err := a.checker(c.Spec())
	if err != nil {
		return err
	}
	via, err := a.delayed(c, o.after)
	if err != nil {
		return err
	}
	options := headerOptions(s.headers)
	if o.id != "" {
		options = append(options, leveret.MessageID(o.id))
	}
	s.target, s.check = target{Contract: c.Spec().Name}, check.check
	s.open = func(ctx context.Context, conn *leveret.Conn) (outlet, error) {
		return a.contractOutlet(ctx, conn, c, via, options)
	}
	return s.run(cmd.Context(), &o.payloadOptions)
}

func pastTense(k leveret.Kind) string {
	if k == leveret.KindEvent {
		return "published"
	}
	return "sent"
}
