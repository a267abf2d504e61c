package cli

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/schema"
)

// What -o json prints is an interface: docs/cli.md has to name every field, and every kind of error.
func TestEveryJSONFieldIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	documented := func(name string) {
		require.Contains(t, string(page), "`"+name+"`", "docs/cli.md does not name %s", name)
	}
	for _, printed := range []any{
		contractDetails{},
		contractSummary{},
		sent{},
		queueRow{},
		failedGroup{},
		letterView{},
		moved{},
		movedQueue{},
		movedMessage{},
		configLine{},
		failureDetails{},
		schema.Problem{},
	} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(printed)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
				documented(name)
			}
		}
	}
	for exit := range ExitCode(131) {
		if kind := exit.String(); !strings.HasPrefix(kind, "exit") {
			documented(kind)
		}
	}
}

// A command of a user's own returns the other side's answer as it is.
func TestExitCodeOfAnAnswer(t *testing.T) {
	t.Parallel()
	for _, answer := range []error{
		leveret.Errorf(leveret.NotFound, "nobody"), leveret.Errorf(leveret.DeadlineExceeded, "too slow"),
	} {
		err := leveret.DecodeProblem(leveret.EncodeProblem(answer))
		require.Equal(t, ExitAnswered, exitOf(fmt.Errorf("count: %w", err)))
		require.NotEqual(t, ExitAnswered, exitOf(answer))
	}
}
