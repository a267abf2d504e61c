package term

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

// Why somebody has not agreed.
var (
	ErrNobody = errors.New("--yes is needed where nobody can be asked") // In or Err is no terminal
	ErrNo     = errors.New("nothing was done: the answer was not y")
)

// Confirm asks whether to go on, and returns nil if so. It is for commands that have a flag --yes. The error is [ErrNobody],
// [ErrNo], or the cause of ctx, if that has ended.
func (s *Streams) Confirm(ctx context.Context, question string) error {
	if !s.InTerminal || !s.ErrTerminal {
		return fmt.Errorf("%w: %s", ErrNobody, question)
	}
	yes, err := s.Ask(ctx, question)
	if err == nil && !yes {
		err = ErrNo
	}
	return err
}

// Ask asks a question on Err and reports whether the answer was yes; anything but y and yes is no. It blocks until In
// has a line, or ends. The error is the cause of ctx, if that has ended.
func (s *Streams) Ask(ctx context.Context, question string) (bool, error) {
	fmt.Fprintf(s.Err, "%s [y/N] ", question)
	answer, err := bufio.NewReader(s.In).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, context.Cause(ctx)
	}
	if err != nil {
		fmt.Fprintln(s.Err) // nobody pressed Enter
	}
	return false, context.Cause(ctx)
}
