package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/pkg/stream"
)

func (p Program) projectionLs(schema *config.Schema) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "Show how far each projection has come",
		Long: "Show how far each projection has come with each stream: the offset of the last event that it has applied, how many\n" +
			"are still to come, when the last one was sent, and why it stands still, if it does. It takes some seconds where a\n" +
			"stream is empty.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, ok := map[string]func(io.Writer, []projectionView) error{"text": projectionTable, "json": projectionJSON}[format]
			if !ok {
				return exit(exitUsage, "--output is %q; it must be text or json", format)
			}
			return p.withProjections(cmd, schema, func(ctx context.Context, all []*stream.Projection) error {
				views, err := projectionViews(ctx, all)
				return errors.Join(list(cmd.OutOrStdout(), views), err)
			})
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "text", "format of the data: text or json")
	return cmd
}

// A projectionView is how far a projection has come with a stream, for programs. Null stands for what is not known, and for
// what there is not.
type projectionView struct {
	Projection  string     `json:"projection"`
	Stream      string     `json:"stream"`
	Position    *int64     `json:"position"`
	Lag         *int64     `json:"lag"`
	LastEventAt *time.Time `json:"last_event_at"`
	State       string     `json:"state"`
	StoppedAt   *time.Time `json:"stopped_at"`
	Trouble     *string    `json:"trouble"`
}

// projectionViews returns what is known, beside the error of what is not.
func projectionViews(ctx context.Context, all []*stream.Projection) ([]projectionView, error) {
	states, errs := make([][]projectionView, len(all)), make([]error, len(all))
	var looking sync.WaitGroup
	for i, p := range all {
		looking.Go(func() {
			var found []stream.State
			found, errs[i] = p.State(ctx)
			for _, s := range found {
				states[i] = append(states[i], projectionViewOf(p.Name(), s))
			}
		})
	}
	looking.Wait()
	return slices.Concat(states...), errors.Join(errs...)
}

func projectionViewOf(name string, s stream.State) projectionView {
	v := projectionView{Projection: name, Stream: s.Stream, State: "behind"}
	if s.Position.Offset != stream.None {
		v.Position = &s.Position.Offset
	}
	if s.Lag >= 0 {
		v.Lag = &s.Lag
	}
	if at := s.SentAt.UTC(); !at.IsZero() {
		v.LastEventAt = &at
	}
	switch since := s.Since.UTC(); {
	case s.Trouble != "":
		v.State, v.StoppedAt, v.Trouble = "stopped", &since, &s.Trouble
	case s.Lag < 0:
		v.State = "unknown"
	case s.CaughtUp():
		v.State = "caught_up"
	}
	return v
}

func projectionJSON(out io.Writer, all []projectionView) error {
	return printJSON(out, append([]projectionView{}, all...), true) // [] rather than null
}

func projectionTable(out io.Writer, all []projectionView) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROJECTION\tSTREAM\tPOSITION\tLAG\tLAST EVENT\tSTATE")
	for _, v := range all {
		position, lag, last := "-", "?", "-"
		if v.Position != nil {
			position = fmt.Sprint(*v.Position)
		}
		if v.Lag != nil {
			lag = fmt.Sprint(*v.Lag)
		}
		if v.LastEventAt != nil {
			last = v.LastEventAt.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", v.Projection, v.Stream, position, lag, last, v.state())
	}
	return table.Flush()
}

// state returns the state in words.
func (v *projectionView) state() string {
	switch v.State {
	case "stopped":
		return "stands still since " + v.StoppedAt.Format(time.RFC3339) + ": " + oneLine(*v.Trouble)
	case "caught_up":
		return "caught up"
	default:
		return v.State
	}
}
