package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
)

type dlqShowOptions struct {
	queue, which, where string
	limit               int
}

func (a *App) dlqShowCommand() *cobra.Command {
	var o dlqShowOptions
	cmd := &cobra.Command{
		Use:     "show QUEUE [N|ID]",
		Short:   "The dead letters of a queue, or all of one: headers, error, payload",
		Long:    "The dead letters of a queue, those that failed first at the top, or all of one: headers, error, payload. N is the\nnumber in the list, ID the message's.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq show %[2]s\n  %[1]s dlq show %[2]s 1\n  %[1]s dlq show %[2]s -o jsonl --where 'code == \"not_found\"' | jq .payload", a.Name, a.someQueue()),
		Args:    Arguments(1, 2), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.queue = a.failingQueue(args[0])
			if len(args) > 1 {
				o.which = args[1]
			}
			return a.showLetters(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.where, "where", "", "show only those that this `expression` is true for")
	cmd.Flags().IntVar(&o.limit, "limit", 50, "show so many at most")
	return cmd
}

func (a *App) showLetters(ctx context.Context, o dlqShowOptions) error {
	if o.limit < 1 {
		return usage("", "--limit is %d; it must be 1 or more", o.limit)
	}
	pick, err := parseWhere(o.where)
	if err != nil {
		return err
	}
	conn, letters, err := a.letters(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx, conn.Close)
	if o.which != "" {
		return a.showOne(ctx, letters, o)
	}
	most := max(readAtOnce, o.limit)
	if pick != nil {
		most = everyLetter
	}
	found := &reading{limit: o.limit, pick: pick.picks}
	if err := a.readLetters(ctx, letters, o.queue, most, found); err != nil {
		return err
	}
	pick.tell(a)
	if found.matched == 0 && a.Format() == FormatText {
		if o.where != "" && found.seen > 0 {
			a.Note("--where picks none of %s", deadLetters(found.seen))
			return nil
		}
		a.Note("no dead letters")
		return nil
	}
	views := make([]letterView, len(found.letters))
	for i, l := range found.letters {
		views[i] = viewOf(l.number, l.Letter)
	}
	if err := PrintList(a, views, func() *term.Table { return letterTable(found.letters) }); err != nil {
		return err
	}
	if shown := len(found.letters); found.matched > shown {
		a.Note("%s", a.err.Paint(term.Dim, fmt.Sprintf("%d of %d are shown; --limit shows more", shown, found.matched)))
	}
	return nil
}

// showOne shows the letter with an id, or else that with a number.
func (a *App) showOne(ctx context.Context, letters *deadletter.Store, o dlqShowOptions) error {
	n, err := strconv.Atoi(o.which)
	isNumber := err == nil
	found, most := &reading{limit: 1, pick: func(l *deadletter.Letter) bool { return l.ID == o.which }}, everyLetter
	if isNumber && n <= readAtOnce {
		found, most = &reading{limit: readAtOnce}, readAtOnce // those that the list has numbered
	} else if isNumber {
		found = &reading{limit: n}
	}
	if err := a.readLetters(ctx, letters, o.queue, most, found); err != nil {
		return err
	}
	i := slices.IndexFunc(found.letters, func(l numbered) bool { return l.ID == o.which })
	if i < 0 && isNumber && n >= 1 && n <= len(found.letters) {
		i = n - 1
	}
	if i < 0 {
		return Fail(ExitNotFound, fmt.Sprintf("%s dlq show %s", a.Name, o.queue), "%s has no dead letter %q; it has %d", o.queue, o.which, found.seen)
	}
	one := found.letters[i]
	if a.Format() != FormatText {
		return a.PrintJSON(viewOf(one.number, one.Letter))
	}
	return a.printLetter(one)
}
