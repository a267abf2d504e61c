package peers

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// counter counts the acks sent to a channel.
type counter struct {
	acks, nacks int
	last        uint64
}

func (c *counter) Ack(tag uint64, _ bool) error {
	c.acks, c.last = c.acks+1, tag
	return nil
}

func (c *counter) Nack(uint64, bool, bool) error {
	c.nacks++
	return nil
}

func (c *counter) Reject(uint64, bool) error { return errors.New("not expected") }

func deliver(t *testing.T, n int) <-chan amqp.Delivery {
	deliveries := make(chan amqp.Delivery) // as the driver's: it holds nothing
	body, err := json.Marshal(Payloads(256)(1))
	require.NoError(t, err)
	go func() {
		defer close(deliveries)
		for tag := range n {
			deliveries <- amqp.Delivery{DeliveryTag: uint64(tag + 1), Body: body}
		}
	}()
	return deliveries
}

func TestOneAckForABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c counter
		err := handleInBatches(t.Context(), deliver(t, 1000), 16, &c, func(context.Context, *Payload) error { return nil })
		require.NoError(t, err)
		require.Equal(t, 63, c.acks) // 62.5
		require.Equal(t, uint64(1000), c.last)
	})
}

func TestOnlyTheFinishedPrefixIsAcked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c counter
		a := newRawAcks(&c, 16)
		now := func(acks int, last uint64) {
			t.Helper()
			a.mu.Lock()
			defer a.mu.Unlock()
			require.Equal(t, counter{acks: acks, last: last}, c)
		}
		soon := func(acks int, last uint64) {
			t.Helper()
			time.Sleep(2 * batchDelay)
			now(acks, last)
		}
		for tag := uint64(2); tag <= 9; tag++ {
			a.done(tag)
		}
		soon(0, 0) // the first is not finished
		a.done(1)
		now(1, 9)
		a.done(10)
		now(1, 9) // waits for others
		soon(2, 10)
		for tag := uint64(11); tag <= 1000; tag++ {
			a.done(tag)
		}
		now(2+247, 998) // by fours
		require.NoError(t, a.flush())
		soon(2+248, 1000)
	})
}

func TestABatchHasNoFailedMessage(t *testing.T) {
	t.Parallel()
	var c counter
	n := 0
	err := handleInBatches(t.Context(), deliver(t, 10), 16, &c, func(context.Context, *Payload) error {
		if n++; n%4 == 0 {
			return errors.New("fails")
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, c.nacks)
	require.GreaterOrEqual(t, c.acks, 3)
}
