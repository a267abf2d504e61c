package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/schema"
	"github.com/leveretmq/leveret/pkg/leveret"
)

type callOptions struct {
	contract string
	payloadOptions
	headers []string
	timeout time.Duration
}

func (a *App) callCommand() *cobra.Command {
	var o callOptions
	cmd := &cobra.Command{
		Use:   "call REQUEST [PAYLOAD]",
		Short: "Ask a service and print its reply",
		Long: "Ask a service and print its reply. The payload is checked against the request's JSON Schema first. The reply goes to\n" +
			"standard output; who answered and how fast goes to standard error. An error of the other side ends with 6, no reply in\n" +
			"time with 4, a request that nobody serves with 5.",
		Example:           fmt.Sprintf("  %[1]s call %[2]s '{…}' --timeout 5s\n  %[1]s call %[2]s -f request.json -o json | jq .", a.Name, a.some(leveret.KindRequest)),
		Args:              Arguments(1, 2),
		ValidArgsFunction: a.completeContract(leveret.KindRequest),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("timeout") && o.timeout <= 0 {
				return usage("", "--timeout is %v; it must be positive", o.timeout)
			}
			return a.call(cmd.Context(), o, args)
		},
	}
	o.payloadOptions.flags(cmd, false)
	f := cmd.Flags()
	f.StringArrayVarP(&o.headers, "header", "H", nil, "a header, as `name=value`; may be given again")
	f.DurationVar(&o.timeout, "timeout", 0, "how long to wait for the reply; default: the contract's timeout")
	return cmd
}

func (a *App) call(ctx context.Context, o callOptions, args []string) error {
	c, err := a.contract(args[0], leveret.KindRequest)
	if err != nil {
		return err
	}
	spec := c.Spec()
	o.contract = spec.Name
	o.take(args[1:])
	o.lines = false
	if err := o.check(fmt.Sprintf("%s contracts show %s --example", a.Name, spec.Name)); err != nil {
		return err
	}
	if o.timeout == 0 {
		o.timeout = spec.Timeout
	}
	options, err := headers(o.headers)
	if err != nil {
		return err
	}
	text, err := o.read(a.IO.In)
	if err != nil {
		return err
	}
	check, err := a.checker(spec)
	if err != nil {
		return err
	}
	payload, err := check.check([]byte(text))
	if err != nil {
		return err
	}
	client, closeClient, err := a.client(ctx, c)
	if err != nil {
		return err
	}
	defer closeClient()
	m := leveret.NewMessage(ctx, c, payload, options...)
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	begun := time.Now()
	err = client.Call(waiting, m)
	elapsed := time.Since(begun)
	if err != nil {
		return a.explainCall(spec, o.timeout, elapsed, m.AnsweredBy, err)
	}
	return a.printReply(spec, m, elapsed)
}

// printReply prints the reply, which may be anything: a service of somebody else's may have answered.
func (a *App) printReply(spec leveret.Spec, m *leveret.Message, elapsed time.Duration) error {
	from := oneLine(cmp.Or(m.AnsweredBy, "an unnamed service"))
	reply, err := schema.Of(spec.Reply)
	if err != nil {
		return err
	}
	if _, err = reply.Check(m.Reply); err != nil {
		err = fmt.Errorf("%s answered with what is no reply of %s: %w", from, spec.Name, err)
	}
	if !json.Valid(m.Reply) {
		if a.Format() == FormatText {
			_ = a.Printf("%s", printable(string(m.Reply)))
		}
		return Fail(ExitAnswered, "", "%w", err)
	}
	if err != nil {
		a.Warn("%s", printable(err.Error()))
	}
	indent := a.Format() == FormatJSON || a.Format() == FormatText && a.IO.OutTerminal
	if err := writeRaw(a.IO.Out, m.Reply, indent); err != nil {
		return err
	}
	if a.Format() == FormatText {
		a.Note("%s", a.err.dim(fmt.Sprintf("reply %s from %s", short(elapsed), from)))
	}
	return nil
}

// explainCall returns the error of a command for each way in which a call can end.
func (a *App) explainCall(spec leveret.Spec, timeout, elapsed time.Duration, from string, err error) error {
	unknown := ""
	if errors.Is(err, leveret.ErrOutcomeUnknown) {
		unknown = "; outcome unknown: it may have been handled"
	}
	remote := leveret.IsRemote(err)
	late := remote && errors.Is(err, leveret.DeadlineExceeded) && elapsed > timeout*9/10 // it gave up when this side did
	switch {
	case errors.Is(err, leveret.ErrUnroutable):
		return Fail(ExitNotFound, fmt.Sprintf("start the service %s, which answers it", spec.Owner()), "%w%s", err, unknown)
	case remote && !late:
		answer, _ := errors.AsType[*leveret.Error](err)
		from, said := oneLine(cmp.Or(from, spec.Name)), worded{oneLine(answer.Error()), err}
		return Fail(ExitAnswered, "", "%s answered with an error after %s: %w%s", from, short(elapsed), said, unknown)
	case late, errors.Is(err, context.DeadlineExceeded) && exitOf(err) == ExitTimeout:
		return Fail(ExitTimeout, fmt.Sprintf("%s queues shows whether the service %s consumes %s; --timeout waits longer", a.Name, spec.Owner(), spec.Name),
			"%w", worded{fmt.Sprintf("no reply to %s within %s%s", spec.Name, short(timeout), unknown), err})
	default:
		err = a.explain(err)
		return Fail(exitOf(err), nextOf(err), "%w%s", err, unknown)
	}
}
