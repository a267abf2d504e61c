package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
	answers := make(chan string, 1)
	go func() { // a read of a terminal cannot be interrupted: where ctx ends, it ends with the process
		line, err := bufio.NewReader(a.IO.In).ReadString('\n')
		if err != nil && err != io.EOF { //nolint:errorlint // as bufio returns it
			line = ""
		}
		answers <- line
	}()
	select {
	case answer := <-answers:
		switch strings.ToLower(strings.TrimSpace(answer)) {
		case "y", "yes":
			return nil
		default:
			return Fail(ExitError, "", "nothing was done: the answer was not y")
		}
	case <-ctx.Done():
		fmt.Fprintln(a.IO.Err)
		return context.Cause(ctx)
	}
}
