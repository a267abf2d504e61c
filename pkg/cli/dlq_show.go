package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

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
		Args:    arguments(1, 2), ValidArgsFunction: a.completeDeadLetters(),
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
	number, _ := strconv.Atoi(o.which)
	all, total, err := readLetters(ctx, letters, o.queue, max(readAtOnce, o.limit, number))
	if err != nil {
		return a.explainLetters(o.queue, err)
	}
	if len(all) < total {
		a.Warn("%s has %d dead letters; the first %d were looked at", o.queue, total, len(all))
	}
	if o.which != "" {
		return a.showOne(o, all)
	}
	found := slices.DeleteFunc(all, func(l numbered) bool { return !pick.picks(l.Letter) })
	pick.tell(a)
	matched := len(found)
	found = found[:min(matched, o.limit)]
	if matched == 0 && a.Format() == FormatText {
		a.Note("no dead letters")
		return nil
	}
	views := make([]letterView, len(found))
	for i, l := range found {
		views[i] = viewOf(l.number, l.Letter)
	}
	if err := PrintList(a, views, func() *Table { return letterTable(found) }); err != nil {
		return err
	}
	if matched > len(found) {
		a.Note("%s", a.err.dim(fmt.Sprintf("%d of %d are shown; --limit shows more", len(found), matched)))
	}
	return nil
}

func (a *App) showOne(o dlqShowOptions, all []numbered) error {
	i := slices.IndexFunc(all, func(l numbered) bool { return l.ID == o.which })
	if n, err := strconv.Atoi(o.which); i < 0 && err == nil && n >= 1 && n <= len(all) {
		i = n - 1
	}
	if i < 0 {
		return Fail(ExitNotFound, fmt.Sprintf("%s dlq show %s", a.Name, o.queue), "%s has no dead letter %q; it has %d", o.queue, o.which, len(all))
	}
	if a.Format() != FormatText {
		return a.PrintJSON(viewOf(all[i].number, all[i].Letter))
	}
	return a.printLetter(all[i])
}

func sortLetters(all []numbered) {
	slices.SortStableFunc(all, func(x, y numbered) int {
		return cmp.Or(x.FailedAt.Compare(y.FailedAt), cmp.Compare(x.ID, y.ID))
	})
}

// maxHeld is how many bytes of dead letters are kept to be shown.
const maxHeld = 256 << 20

// readLetters reads up to limit letters, and numbers them in the order of their failures: that of a quorum queue changes
// when messages go back to it.
func readLetters(ctx context.Context, letters *deadletter.Letters, queue string, limit int) (all []numbered, total int, err error) {
	held := 0
	total, err = letters.Peek(ctx, queue, limit, func(l *deadletter.Letter) bool {
		all = append(all, numbered{Letter: l})
		held += len(l.Body)
		return held < maxHeld
	})
	sortLetters(all)
	for i := range all {
		all[i].number = i + 1
	}
	return all, total, err
}
