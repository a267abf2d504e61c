package term

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

func TestCount(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{0: "0", 0.25: "0.2", 7: "7", 12.4: "12", 999: "999", 1200: "1.2k", 35000: "35k"} {
		require.Equal(t, want, Count(n))
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "": false, "yesterday\n": false} {
		var asked strings.Builder
		yes, err := (&Streams{In: strings.NewReader(answer), Err: &asked}).Ask(t.Context(), "go on?")
		require.NoError(t, err)
		require.Equal(t, want, yes, "%q", answer)
		require.Contains(t, asked.String(), "go on? [y/N] ")
	}
}

func TestInterruptible(t *testing.T) {
	t.Parallel()
	all, err := io.ReadAll(Interruptible(t.Context(), strings.NewReader("all of it")))
	require.NoError(t, err)
	require.Equal(t, "all of it", string(all))
	none, err := io.ReadAll(Interruptible(t.Context(), nil))
	require.NoError(t, err)
	require.Empty(t, none)

	ctrlC := errors.New("Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	silent, end := io.Pipe()
	defer end.Close()
	cancel(ctrlC)
	_, err = Interruptible(ctx, silent).Read(make([]byte, 1))
	require.ErrorIs(t, err, ctrlC)
}
