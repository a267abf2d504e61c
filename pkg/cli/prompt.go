package cli

import "context"

// confirm asks the person at the terminal whether to go on. Without a terminal, only --yes does.
func (a *App) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.IO.InTerminal || !a.IO.ErrTerminal {
		return usage("--dry-run shows what would be done", "--yes is needed where nobody can be asked: %s", question)
	}
	yes, err := a.IO.Ask(ctx, question)
	if err != nil || yes {
		return err
	}
	return Fail(ExitError, "", "nothing was done: the answer was not y")
}
