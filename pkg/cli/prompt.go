package cli

import (
	"context"
	"errors"

	"github.com/leveretmq/leveret/pkg/cli/term"
)

// dryRun is a hint for commands that have that flag.
const dryRun = "--dry-run shows what would be done"

// confirm asks the person at the terminal whether to go on. Without a terminal, only --yes does; next is a hint then.
func (a *App) confirm(ctx context.Context, yes bool, question, next string) error {
	if yes {
		return nil
	}
	switch err := a.IO.Confirm(ctx, question); {
	case errors.Is(err, term.ErrNobody):
		return usage(next, "%w", err)
	case errors.Is(err, term.ErrNo):
		return Fail(ExitError, "", "%w", err)
	default:
		return err
	}
}
