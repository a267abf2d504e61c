package programs_test

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/gateway"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/programs"
)

// The history of a customer's orders is there after the gateway was killed, and is the same once it was built again.
func TestHistory(t *testing.T) {
	t.Parallel()
	broker, dir := leverettest.Broker(t), t.TempDir()
	s := run(t, broker, nil)
	settings := []string{"LEVERET_BROKER_URL=" + broker, "LEVERET_DATA_DIR=" + dir, "LEVERET_GATEWAY_TRANSPORT=amqp"}
	overrides := map[string]string{"broker.url": broker, "data.dir": dir, "gateway.transport": "amqp"}
	stored := shoptest.Settings(t, "killed")
	maps.Copy(overrides, stored)
	if stored != nil {
		settings = append(settings, "LEVERET_DATABASE_URL="+stored["database.url"])
	}
	killed := startGateway(t, settings...)
	s.gateway = "http://" + killed.HTTP
	ada := s.signUp(t, "ada@example.com")
	states := map[string]string{}
	place := func(key, sku, want string) {
		placed := s.do(t, "POST", "/orders", ada.AccessToken, key, order(sku, 1))
		require.Equal(t, 202, placed.Status)
		states[placed.OrderID] = want
	}
	history := func() bool {
		a, _, err := s.ask(t.Context(), "GET", "/orders/history", ada.AccessToken, "", nil)
		if err != nil || a.Status != 200 {
			return false
		}
		got := map[string]string{}
		for _, o := range a.Orders {
			got[o.OrderID] = o.State
		}
		return maps.Equal(got, states)
	}
	place("1", "TEA-GREEN", confirmed)
	place("2", "MUG-SOLDOUT", cancelled)
	require.Eventually(t, history, 2*time.Minute, 20*time.Millisecond)

	place("3", "TEA-BLACK", confirmed)
	require.NoError(t, killed.cmd.Process.Kill())
	_ = killed.cmd.Wait()
	s.gateway = "http://" + startGateway(t, settings...).HTTP
	ada = s.logIn(t, "ada@example.com")
	require.Eventually(t, history, 2*time.Minute, 20*time.Millisecond)

	gatewayd := programs.Gateway()
	gatewayd.Overrides = overrides
	var out, errs bytes.Buffer
	require.Equal(t, 0, gatewayd.Run(t.Context(), []string{"projection", "rebuild", gateway.HistoryProjection, "--yes"}, &out, &errs), errs.String())
	require.Contains(t, out.String(), "customer-orders is empty")
	require.Eventually(t, history, 2*time.Minute, 20*time.Millisecond)
	require.Equal(t, 0, gatewayd.Run(t.Context(), []string{"projection", "ls"}, &out, &errs), errs.String())
	for _, stream := range []string{"order.placed.kept", "order.confirmed.kept", "order.cancelled.kept"} {
		require.Regexp(t, `(?m)^customer-orders +`+stream, out.String())
	}
}
