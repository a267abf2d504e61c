package term

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

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
