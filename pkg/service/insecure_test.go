package service_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/service"
)

// A service that does not check the broker's certificate says so in its log, once.
func TestInsecureWarns(t *testing.T) {
	t.Parallel()
	const warning = "any certificate is accepted from the broker, so an impostor could read the password"
	for insecure, times := range map[string]int{"true": 1, "false": 0} {
		r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
			handlers(rt)
			return nil
		}}, map[string]string{
			"broker.url": "amqps://ada:hunter2@127.0.0.1:1/", "broker.tls.insecure": insecure,
			"broker.tls.server_name": "rabbit", "log.level": "warn",
		})
		r.log.await(t, "cannot connect to the broker; trying again")
		require.Equal(t, 0, r.end(t))
		found := r.log.records(t, warning)
		require.Len(t, found, times)
		for _, one := range found {
			require.Equal(t, "WARN", one["level"])
			require.Equal(t, "broker.tls.insecure", one["key"])
		}
		require.NotContains(t, r.log.String(), "hunter2")
	}
}
