package cli

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// confirm asks the person at the terminal. Without one, only --yes says yes.
func (a *App) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.IO.InTerminal || !a.IO.ErrTerminal {
		return usage("--dry-run shows what would be done", "--yes is needed where nobody can be asked: %s", question)
	}
	fmt.Fprintf(a.IO.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(a.IO.In).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return ctx.Err()
	}
	if err != nil {
		fmt.Fprintln(a.IO.Err) // there was no Enter
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return Fail(ExitError, "", "nothing was done: the answer was not y")
}
