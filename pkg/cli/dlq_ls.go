package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

type dlqListOptions struct {
	queue, where string
	limit        int
}

// letterGroup is a line of `dlq ls`.
type letterGroup struct {
	Queue  string     `json:"queue"`
	Code   string     `json:"code"`
	Reason string     `json:"reason"`
	Count  int        `json:"count"` // of those read
	Looked int        `json:"looked_at"`
	Total  int        `json:"total"` // in the queue
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	Error  string     `json:"error"`
	Rest   bool       `json:"rest,omitempty"` // other errors, too many to list each
}

func (a *App) dlqListCommand() *cobra.Command {
	var o dlqListOptions
	cmd := &cobra.Command{
		Use:     "ls [QUEUE]",
		Aliases: []string{"list"},
		Short:   "Count dead letters by queue and error",
		Long: "Count dead letters by queue and error, with the newest message of each error. Messages that differ only in numbers, ids\n" +
			"and quoted values count as one error. TOTAL is the number of dead letters in the queue; COUNT is how many of those that\n" +
			"were read have this error.\n\n" + whereHelp,
		Example: fmt.Sprintf("  %[1]s dlq ls\n  %[1]s dlq ls %[2]s --where 'age < duration(\"1h\")'", a.Name, a.someQueue()),
		Args:    Arguments(0, 1), ValidArgsFunction: a.completeDeadLetters(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.queue = args[0]
			}
			return a.listLetters(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.where, "where", "", "count only dead letters that match this `expression`")
	cmd.Flags().IntVar(&o.limit, "limit", readAtOnce, "read at most this many dead letters per queue")
	return cmd
}

func (a *App) listLetters(ctx context.Context, o dlqListOptions) error {
	if o.limit < 1 {
		return usage("", "--limit is %d; it must be 1 or more", o.limit)
	}
	pick, err := parseWhere(o.where, &discretion{app: a})
	if err != nil {
		return err
	}
	conn, letters, err := a.letters(ctx, "dlq ls")
	if err != nil {
		return err
	}
	defer a.close(ctx, conn)
	var all []letterGroup
	there, read := 0, 0
	var refused []error
	for _, from := range a.sources(letters, o.queue) {
		a.warnOfReaders(ctx, letters, from)
		groups, total, err := letters.Groups(ctx, from, o.limit, pick.picks)
		switch {
		case errors.Is(err, deadletter.ErrNoQueue) && o.queue == "":
			continue // its service has never run
		case errors.Is(err, rabbit.ErrRefused) && o.queue == "":
			a.Warn("%s was not read: %v", from.Name, err)
			refused = append(refused, err)
			continue
		case err != nil:
			return a.explainLetters(from, err)
		case total > o.limit:
			a.Warn("%s has %d dead letters; only the first %d were read. --limit reads more", nameOf(from), total, o.limit)
		}
		read++
		there += total
		for _, g := range groups {
			all = append(all, letterGroup{nameOf(from), g.Code, g.Reason, g.Count, min(total, o.limit), total, momentOf(g.Oldest), momentOf(g.Newest), g.Error, g.Rest})
		}
	}
	if read == 0 && len(refused) > 0 {
		return a.reading(refused[0])
	}
	if err := a.printGroups(all, there, pick); err != nil || len(refused) == 0 {
		return err
	}
	return Fail(ExitPartial, nextOf(a.reading(refused[0])), "%d of %d queues could not be read", len(refused), len(refused)+read)
}

// sources returns the sources of dead letters that are listed: that of the queue that a person named, or all.
func (a *App) sources(letters *deadletter.Store, queue string) []deadletter.Source {
	if queue != "" {
		return []deadletter.Source{a.source(letters, queue)}
	}
	var all []deadletter.Source
	for _, q := range a.deadLetterQueues() {
		all = append(all, a.source(letters, q.name))
	}
	for _, q := range a.lostQueues() {
		all = append(all, a.source(letters, q.name))
	}
	return all
}

func (a *App) printGroups(all []letterGroup, there int, pick *where) error {
	pick.warn(a)
	if len(all) == 0 && a.Format() == FormatText {
		if there > 0 {
			a.Note("no dead letter that was read matches --where")
			return nil
		}
		a.Note("no dead letters")
		return nil
	}
	return PrintList(a, all, func() *term.Table {
		t := term.NewTable("QUEUE", "TOTAL#", "COUNT#", "WHY", "NEWEST#", "OLDEST#", "ERROR~")
		for _, g := range all {
			if g.Rest {
				g.Error = "other errors, too many to list each; the newest: " + g.Error
			}
			t.Add(term.Painted(g.Queue, term.Bold), term.Plain(strconv.Itoa(g.Total)), term.Plain(strconv.Itoa(g.Count)),
				term.Painted(why(g.Code, g.Reason), term.Red), term.Plain(agePointer(g.Newest)), term.Plain(agePointer(g.Oldest)), term.Plain(g.Error))
		}
		return t
	})
}

func agePointer(at *time.Time) string {
	if at == nil {
		return ""
	}
	return ageText(*at)
}
