package shoptest

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/store"
)

// A Case handles one message, with its own state. Its outbox is empty before.
type Case struct {
	// Handle delivers the message. After a failure it is called again, as the broker and the retry policy would do.
	Handle func(options ...leverettest.Option) leverettest.Delivered
	// Restart does what a new process would do between the two deliveries: it reopens the store.
	Restart func()
	// Store returns the store that is open.
	Store func() *store.Store
	// Sent returns what was sent since the last call.
	Sent func() []*leveret.Message
	// Check checks that the effect has happened exactly once.
	Check func()
	// Later says that the handler also stores a message for later.
	Later bool
}

// Interrupted interrupts a handler at each message that it stores, and between its commit and its ack, and delivers the
// message again to a new process. All messages of an undisturbed handler are sent, each once.
func Interrupted(t *testing.T, setup func(t *testing.T) Case) {
	t.Helper()
	c := setup(t)
	done := c.Handle()
	require.NoError(t, done.Err)
	want := Names(c.Sent())
	require.NotEmpty(t, want)
	c.Check()
	again := func(c Case, m *leveret.Message) {
		c.Restart()
		require.NoError(t, c.Handle(leverettest.With(leveret.MessageID(m.ID)), leverettest.Redelivered()).Err)
		c.Check()
	}
	again(c, done.Message)
	require.Empty(t, c.Sent(), "it was handled")

	interrupted := func(name string, refused string) {
		t.Run(name, func(t *testing.T) {
			c := setup(t)
			exec(t, c.Store(), refuse(refused)...)
			broken := c.Handle()
			require.ErrorIs(t, broken.Err, leveret.Unavailable)
			require.ErrorContains(t, broken.Err, "refused")
			require.Empty(t, c.Sent(), "what was stored before is rolled back, too")
			Accept(t, c.Store())
			again(c, broken.Message)
			require.Equal(t, want, Names(c.Sent()))
			again(c, broken.Message)
			require.Empty(t, c.Sent(), "it was handled")
		})
	}
	for n := range want {
		interrupted(fmt.Sprintf("message %d", n+1), number(n+1))
	}
	if c.Later {
		interrupted("later", "NEW.due_at > 0")
	}
}

// Refuse has a database refuse the message number n of its outbox, which has none to be sent now: the transaction fails.
func Refuse(t *testing.T, s *store.Store, n int) {
	t.Helper()
	exec(t, s, refuse(number(n))...)
}

// number is the condition of the message number n.
func number(n int) string {
	return fmt.Sprintf("NEW.due_at = 0 AND (SELECT count(*) FROM leveret_outbox WHERE due_at = 0) = %d", n-1)
}

// Accept ends what Refuse has begun.
func Accept(t *testing.T, s *store.Store) {
	t.Helper()
	exec(t, s, accept()...)
}

func exec(t *testing.T, s *store.Store, statements ...string) {
	t.Helper()
	require.NoError(t, s.InTx(t.Context(), func(tx *sql.Tx) error {
		for _, statement := range statements {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

// Names returns the contracts of messages, in order.
func Names(messages []*leveret.Message) []string {
	names := []string{}
	for _, m := range messages {
		names = append(names, m.Contract.Spec().Name)
	}
	return names
}
