package service_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/encrypted"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
)

// The password and the authority of the broker are replaced while a service runs: it goes on with what their files say,
// and a file that is half written does it no harm.
func TestRotationOfTheBrokersFiles(t *testing.T) {
	t.Parallel()
	broker := encrypted.New(t)
	node, name, dir := leverettest.Node(t), "rotating-"+rand.Text(), t.TempDir()
	api, err := node.Management()
	require.NoError(t, err)
	setPassword := func(password string) {
		require.NoError(t, api.Call(t.Context(), http.MethodPut, map[string]string{"password": password, "tags": ""}, nil, "users", name))
	}
	setPassword("first-secret")
	t.Cleanup(func() {
		require.NoError(t, api.Call(context.WithoutCancel(t.Context()), http.MethodDelete, nil, nil, "users", name))
	})
	require.NoError(t, api.Call(t.Context(), http.MethodPut,
		map[string]string{"configure": ".*", "write": ".*", "read": ".*"}, nil, "permissions", broker.VHost, name))
	password, authority := filepath.Join(dir, "password"), filepath.Join(dir, "ca.pem")
	write := func(file, content string) { require.NoError(t, os.WriteFile(file, []byte(content), 0o600)) }
	renewed := func(from string) string {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		return string(content)
	}
	write(password, "first-secret\n")
	write(authority, renewed(broker.CAFile))
	u, err := url.Parse(broker.URL)
	require.NoError(t, err)
	u.User = url.User(name)

	handled := make(chan int, 9)
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
		do.Handle(rt.Handlers, func(_ context.Context, u unit) error {
			select {
			case handled <- u.N:
			default: // nobody looks now
			}
			return nil
		})
		ask.Answer(rt.Handlers, func(_ context.Context, u unit) (unit, error) { return u, nil })
		rt.Go("sends", func(ctx context.Context) error {
			for n := 0; ; n++ {
				if err := do.Send(ctx, rt.Client, unit{n}); err != nil {
					return nil //nolint:nilerr // the end of the test
				}
			}
		})
		return nil
	}}, map[string]string{"broker.url": u.String(), "broker.password_file": password, "broker.tls.ca_file": authority})
	works := func() {
		t.Helper()
		for range 2 * cap(handled) { // more than what was waiting
			select {
			case <-handled:
			case <-time.After(2 * time.Minute):
				t.Fatal("nothing is handled")
			}
		}
	}
	logged := func(text string, n int) {
		t.Helper()
		r.log.await(t, text)
		require.Len(t, r.log.records(t, text), n, text)
	}
	failed := func(n int) { // attempts
		t.Helper()
		before := len(r.log.records(t, "cannot connect"))
		require.Eventually(t, func() bool { return len(r.log.records(t, "cannot connect")) >= before+n }, 2*time.Minute, 10*time.Millisecond)
	}
	works()

	setPassword("second-secret")
	write(password, "") // a file that is written again is empty first
	broker.Cut()
	failed(3)
	logged("cannot read the broker's password again; using the one before", 1)
	write(password, "second-secret\n")
	r.log.await(t, "broker's password read again")
	works()

	next := renewed(broker.Renew(t))
	write(authority, next[:len(next)/2])
	broker.Cut()
	failed(3)
	logged("cannot read the broker's authority again; using the one before", 1)
	write(authority, next)
	r.log.await(t, "broker's authority read again")
	works()

	r.stop()
	require.Equal(t, 0, <-r.ended)
	for _, secret := range []string{"first-secret", "second-secret"} {
		require.NotContains(t, r.log.String(), secret)
	}
}
