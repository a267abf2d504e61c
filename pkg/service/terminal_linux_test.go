package service_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/outbox"
	"github.com/leveretmq/leveret/pkg/service"
)

// A terminal is what a person sees and types.
type terminal struct {
	*os.File          // the person's side
	program  *os.File // the program's side

	mu    sync.Mutex
	shown bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	var unlocked, number int32
	for request, argument := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlocked, syscall.TIOCGPTN: &number} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(argument))) //nolint:gosec // ioctl takes an address
		require.Zero(t, errno)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	own := &terminal{File: master, program: slave}
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 1024)
		for {
			n, err := master.Read(b)
			own.mu.Lock()
			own.shown.Write(b[:n])
			own.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_, err := master.WriteString("\n") // what waits for a line ends
		require.NoError(t, err)
		require.NoError(t, slave.Close())
		reading.Wait() // its side is closed, so it gets an error
		require.NoError(t, master.Close())
	})
	return own
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shown.String()
}

// run runs a command of a program at the terminal; its exit code follows.
func (t *terminal) run(ctx context.Context, p service.Program, args ...string) <-chan int {
	ended := make(chan int, 1)
	cmd := p.Command()
	cmd.SetIn(t.program)
	cmd.SetOut(t.program)
	cmd.SetErr(t.program)
	cmd.SetArgs(args)
	go func() {
		err := cmd.ExecuteContext(ctx)
		if err != nil {
			fmt.Fprintln(t.program, err)
		}
		ended <- service.ExitCode(err)
	}()
	return ended
}

// requireAsked waits for a question.
func requireAsked(t *testing.T, person *terminal, question string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(person.text(), question+" [y/N] ") }, patience, tick)
}

// Ctrl-C ends a command that asks; y and yes are yes, and anything else is no.
func askAtTheTerminal(t *testing.T, p service.Program, question string, args ...string) {
	t.Helper()
	interrupted := newTerminal(t)
	ctx, ctrlC := context.WithCancelCause(t.Context())
	ended := interrupted.run(ctx, p, args...)
	requireAsked(t, interrupted, question)
	ctrlC(errors.New("interrupt"))
	require.Equal(t, 130, <-ended)
	require.Eventually(t, func() bool { return strings.Contains(interrupted.text(), "interrupted") }, patience, tick)

	for _, answer := range []string{"\n", "no\n", "YES\n"} {
		person := newTerminal(t)
		ended := person.run(t.Context(), p, args...)
		requireAsked(t, person, question)
		_, err := person.WriteString(answer)
		require.NoError(t, err)
		if answer == "YES\n" {
			require.Equal(t, 0, <-ended, person.text())
			continue
		}
		require.Equal(t, 1, <-ended, person.text())
		require.Eventually(t, func() bool { return strings.Contains(person.text(), "nothing was done: the answer was not y") }, patience, tick)
	}
}

func TestOutboxAsks(t *testing.T) {
	t.Parallel()
	dir, ctx := t.TempDir(), t.Context()
	o := parcelOutbox(t, dir)
	require.NoError(t, o.InTx(ctx, func(tx *sql.Tx) error {
		return sent.Publish(ctx, outbox.In(tx), parcel{Street: "Mill Lane"}, leveret.MessageID("tomorrow"), leveret.After(24*time.Hour))
	}))
	askAtTheTerminal(t, parcelProgram(dir, nowhere), "Remove 1 message of parcel? It will never be sent.", "outbox", "cancel", "tomorrow")
	_, err := o.Get(ctx, "tomorrow")
	require.ErrorIs(t, err, leveret.NotFound)
}

func TestProjectionAsks(t *testing.T) {
	t.Parallel()
	program := deskProgram(t.TempDir(), nowhere, &atomic.Bool{})
	askAtTheTerminal(t, program, "Empty the tables of units? They are incomplete until it has read its streams again.", "projection", "rebuild", "units")
}
