package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/internal/plain"
	"github.com/leveretmq/leveret/pkg/cli/term"
)

// What the program's commands take as --output.
const (
	formatText  = "text"
	formatJSON  = "json"  // one JSON value
	formatJSONL = "jsonl" // one value a line
)

func formatFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", formatText, "format of the data: `text|json|jsonl`")
}

func checkFormat(format string) error {
	switch format {
	case formatText, formatJSON, formatJSONL:
		return nil
	}
	return fmt.Errorf("--output is %q; it must be text, json or jsonl", format)
}

// printList prints a list in a format; text returns it as a table.
func printList[T any](cmd *cobra.Command, format string, items []T, text func([]T) *term.Table) error {
	out := cmd.OutOrStdout()
	switch format {
	case formatJSON:
		return printJSON(out, append([]T{}, items...), true) // [] rather than null
	case formatJSONL:
		for _, item := range items {
			if err := printJSON(out, item, false); err != nil {
				return err
			}
		}
		return nil
	}
	s := streams(cmd)
	return text(items).Write(out, term.Style{}, s.Width())
}

func printJSON(out io.Writer, v any, indent bool) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if indent {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(out, plain.Text(text.String()))
	return err
}

// streams returns what a command reads and writes.
func streams(cmd *cobra.Command) *term.Streams {
	return term.Of(cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
}

// confirm asks on a terminal whether to go on, unless somebody has said yes; elsewhere it refuses.
func confirm(ctx context.Context, cmd *cobra.Command, yes bool, question string) error {
	if yes {
		return nil
	}
	s := streams(cmd)
	s.In = term.Interruptible(ctx, s.In)
	err := s.Confirm(ctx, question)
	if errors.Is(err, term.ErrNobody) {
		return exit(exitUsage, "%w", err)
	}
	return err
}
