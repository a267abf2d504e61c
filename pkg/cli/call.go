package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/rabbit"
	"github.com/leveretmq/leveret/pkg/schema"
)

type callOptions struct {
	contract string
	payloadOptions
	headers []string
	timeout time.Duration
	reveal  bool
}

func (a *App) callCommand() *cobra.Command {
	var o callOptions
	cmd := &cobra.Command{
		Use:   "call REQUEST [PAYLOAD]",
		Short: "Send a request and print the reply",
		Long: "Send a request to a service and print its reply. The payload is first checked against the request's JSON Schema.\n\n" + jsonHelp +
			"The reply goes to standard output, the instance that answered and the time to standard error. The exit code is 6 if the\n" +
			"service answered with an error or with a reply that does not fit the request's type, which is printed all the same,\n" +
			"4 if no reply came in time, and 5 if no service serves the request.",
		Example:           fmt.Sprintf("  %[1]s call %[2]s '{…}' --timeout 5s\n  %[1]s call %[2]s -f request.json -o json | jq .", a.Name, a.some(leveret.KindRequest)),
		Args:              Arguments(0, 2),
		ValidArgsFunction: a.completeContract(leveret.KindRequest),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.noContract(cmd, leveret.KindRequest)
			}
			if cmd.Flags().Changed("timeout") && o.timeout <= 0 {
				return usage("", "--timeout is %v; it must be positive", o.timeout)
			}
			return a.call(cmd.Context(), o, args)
		},
	}
	o.payloadOptions.flags(cmd, false)
	f := cmd.Flags()
	f.StringArrayVarP(&o.headers, "header", "H", nil, "set a header, as `name=value`; repeatable")
	f.DurationVar(&o.timeout, "timeout", 0, "how long to wait for the reply (default: the contract's timeout)")
	revealFlag(cmd, &o.reveal)
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
	headers, err := parseHeaders(o.headers)
	if err != nil {
		return err
	}
	d, err := a.discretion("call "+spec.Name, o.reveal)
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
	m := leveret.NewMessage(ctx, c, payload, headerOptions(headers)...)
	waiting, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	begun := time.Now()
	err = client.Call(waiting, m)
	elapsed := time.Since(begun)
	if err != nil {
		return a.explainCall(spec, o.timeout, elapsed, m.AnsweredBy, err)
	}
	return a.printReply(spec, m, elapsed, d)
}

// printReply prints the reply. It may be anything: the service need not be one of ours. One that does not fit is
// printed, too, but for one that is not JSON under -o json.
func (a *App) printReply(spec leveret.Spec, m *leveret.Message, elapsed time.Duration, d *discretion) error {
	from := term.Cut(term.OneLine(cmp.Or(m.AnsweredBy, "an unnamed service")), 255)
	reply, err := schema.Reply(spec)
	if err != nil {
		return err
	}
	body, err := reply.FromBody(m.Reply)
	if err != nil { // which is shown as it is
		body = m.Reply
	}
	if body = withoutMark(body); err == nil {
		_, err = reply.Check(body)
	}
	if err != nil {
		err = fmt.Errorf("%s sent a reply that does not fit %s: %w", from, spec.Name, err)
	}
	shown := d.show(reply, body)
	d.log()
	if !json.Valid(body) {
		if a.Format() == FormatText {
			_ = a.Printf("%s", term.Printable(string(shown)))
		}
		return Fail(ExitAnswered, "", "%w", err)
	}
	indent := a.Format() == FormatJSON || a.Format() == FormatText && a.IO.OutTerminal
	if err := a.writeBody(shown, indent); err != nil {
		return err
	}
	if err != nil {
		return Fail(ExitAnswered, fmt.Sprintf("%s contracts show %s prints what the reply must be", a.Name, spec.Name), "%w", err)
	}
	if a.Format() == FormatText {
		a.Note("%s", a.err.Paint(term.Dim, fmt.Sprintf("reply %s from %s", short(elapsed), from)))
	}
	return nil
}

// explainCall distinguishes the ways a call can fail.
func (a *App) explainCall(spec leveret.Spec, timeout, elapsed time.Duration, from string, err error) error {
	unknown := ""
	if errors.Is(err, leveret.ErrOutcomeUnknown) {
		unknown = "; outcome unknown: it may have been handled"
	}
	remote := leveret.IsRemote(err)
	late := remote && errors.Is(err, leveret.DeadlineExceeded) && elapsed > timeout*9/10 // the other side gave up when this side did
	switch {
	case errors.Is(err, leveret.ErrUnroutable):
		return Fail(ExitNotFound, a.missing(fmt.Sprintf("start the service %s, which serves it", spec.Owner())), "%w%s", err, unknown)
	case remote && !late:
		answer, _ := errors.AsType[*leveret.Error](err)
		from, said := term.Cut(term.OneLine(cmp.Or(from, spec.Name)), 255), worded{term.OneLine(answer.Error()), err}
		return Fail(ExitAnswered, "", "%s answered with an error after %s: %w%s", from, short(elapsed), said, unknown)
	case errors.Is(err, rabbit.ErrAlarm):
		return Fail(exitOf(err), a.endAlarm(err), "%w%s", err, unknown)
	case late, errors.Is(err, context.DeadlineExceeded) && exitOf(err) == ExitTimeout:
		return Fail(ExitTimeout, fmt.Sprintf("%s queues shows whether the service %s is consuming %s; --timeout waits longer", a.Name, spec.Owner(), spec.Name),
			"%w", worded{fmt.Sprintf("no reply to %s within %s%s", spec.Name, short(timeout), unknown), err})
	default:
		err = a.explain(err)
		return Fail(exitOf(err), nextOf(err), "%w%s", err, unknown)
	}
}
