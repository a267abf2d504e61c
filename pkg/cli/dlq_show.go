package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
)

type dlqShowOptions struct {
	queue, which, where string
	limit               int
	reveal              bool
}

func (a *App) dlqShowCommand() *cobra.Command {
	var o dlqShowOptions
	cmd := &cobra.Command{
		Use:   "show QUEUE [ID]",
		Short: "Show the dead letters of a queue, or one in full",
		Long: "Show the dead letters of a queue, oldest failure first; or one in full, with its error, headers and payload. ID is what\n" +
			"the list shows: a message id, or a fingerprint of a message without one. The fingerprint of every letter is in -o json.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq show %[2]s\n  %[1]s dlq show %[2]s 0197f3a2-5c1e-7d2b-9c57-3f0a4e6d8b11\n"+
			"  %[1]s dlq show %[2]s -o jsonl --where 'code == \"not_found\"' | jq .payload", a.Name, a.someQueue()),
		Args: Arguments(1, 2), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.queue = args[0]
			if len(args) > 1 {
				o.which = args[1]
			}
			return a.showLetters(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.where, "where", "", "show only dead letters that match this `expression`")
	cmd.Flags().IntVar(&o.limit, "limit", 50, "show at most this many")
	revealFlag(cmd, &o.reveal)
	return cmd
}

func (a *App) showLetters(ctx context.Context, o dlqShowOptions) error {
	if o.limit < 1 {
		return usage("", "--limit is %d; it must be 1 or more", o.limit)
	}
	d, err := a.discretion("dlq show "+o.queue, o.reveal)
	if err != nil {
		return err
	}
	pick, err := parseWhere(o.where, d)
	if err != nil {
		return err
	}
	conn, letters, err := a.letters(ctx, "dlq show")
	if err != nil {
		return err
	}
	defer a.close(ctx, conn)
	from := a.source(letters, o.queue)
	if o.which != "" {
		return a.showOne(ctx, letters, from, o.which, d)
	}
	most := max(readAtOnce, o.limit)
	only := a.only(o.queue)
	if pick != nil || only != "" {
		most = everyLetter
	}
	found := &reading{limit: o.limit, pick: func(l *deadletter.Letter) bool { return (only == "" || l.Queue == only) && pick.picks(l) }}
	if err := a.readLetters(ctx, letters, from, most, found); err != nil {
		return err
	}
	pick.warn(a)
	if found.matched == 0 && a.Format() == FormatText {
		if o.where != "" && found.seen > 0 {
			a.Note("none of %s matches --where", deadLetters(found.seen))
			return nil
		}
		a.Note("%s has no dead letters", nameOf(from))
		return nil
	}
	var views []letterView
	if a.Format() != FormatText {
		if views, err = d.views(found.letters); err != nil {
			return err
		}
	}
	if err := PrintList(a, views, func() *term.Table {
		all := make([]failedView, len(found.letters))
		for i, l := range found.letters {
			all[i] = failedViewOf(l, "")
		}
		return failedTable(all, from.Queue == "", false)
	}); err != nil {
		return err
	}
	if shown := len(found.letters); found.matched > shown {
		a.Note("%s", a.err.Paint(term.Dim, fmt.Sprintf("showing %d of %d; --limit shows more", shown, found.matched)))
	}
	return nil
}

// showOne shows the letter with an id or a fingerprint.
func (a *App) showOne(ctx context.Context, letters *deadletter.Store, from deadletter.Source, which string, d *discretion) error {
	found, err := a.find(ctx, letters, from, []string{which})
	if err != nil {
		return err
	}
	one, err := d.views(found)
	if err != nil {
		return err
	}
	if a.Format() != FormatText {
		return a.PrintJSON(one[0])
	}
	return a.printLetter(one[0])
}
