package service_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/definitions"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/service"
	"github.com/leveretmq/leveret/pkg/topology"
)

// The permissions that docs/operations.md gives a service's user are enough for everything that a service does: to
// send, to be answered and to cancel, to answer, to retry, to dead-letter; with what declaring needs, and without; in
// both layouts.
func TestThePermissionsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	for layout, rows := range map[string][2]string{
		"shared": {"declares", "serves"}, "isolated": {"declares, isolated", "serves, isolated"},
	} {
		t.Run(layout, func(t *testing.T) {
			t.Parallel()
			permitted(t, layout, documented(t, rows[0]), documented(t, rows[1]))
		})
	}
}

// What the documentation gives a service that declares nothing, in the isolated layout, is what is derived for it.
func TestThePermissionsOfTheDocumentationAreDerived(t *testing.T) {
	t.Parallel()
	d, err := definitions.Of(leveret.NewCatalog(restricted), definitions.Options{Names: topology.Names{Layout: topology.Isolated}})
	require.NoError(t, err)
	derived := d.Permissions[0]
	require.Equal(t, "payment", derived.User)
	wanted := documented(t, "serves, isolated")
	require.Equal(t, wanted, map[string]string{"configure": derived.Configure, "write": derived.Write, "read": derived.Read})
}

func permitted(t *testing.T, layout string, declares, serves map[string]string) {
	t.Helper()
	broker := leverettest.Broker(t)
	// The second user depends on what the first one has declared.
	for _, c := range []struct {
		declare     string
		permissions map[string]string
	}{{"true", declares}, {"false", serves}} {
		retried, dead, asked := make(chan struct{}), make(chan struct{}), make(chan struct{})
		told, release := make(chan struct{}), make(chan struct{})
		var rt *service.Runtime
		r := start(t, service.Program{Service: restricted, Setup: func(_ context.Context, given *service.Runtime) error {
			rt = given
			pay.Handle(rt.Handlers, func(ctx context.Context, u unit) error {
				m := leveret.MessageFrom(ctx)
				switch {
				case u.N == 1 && m.Attempt == 1:
					return leveret.Errorf(leveret.Unavailable, "again")
				case u.N == 1:
					close(retried)
				case u.N == 2:
					close(dead)
					return leveret.Errorf(leveret.NotFound, "never")
				}
				return nil
			})
			paid.Subscribe(rt.Handlers, func(context.Context, unit) error { return nil })
			quote.Answer(rt.Handlers, func(ctx context.Context, u unit) (unit, error) {
				if u.N > 4 {
					asked <- struct{}{}
					select {
					case <-release:
					case <-ctx.Done():
						close(told)
					}
				}
				return u, nil
			})
			return nil
		}}, map[string]string{"broker.url": restrictedUser(t, broker, c.permissions), "broker.declare": c.declare, "broker.layout": layout})
		r.log.await(t, "ready")
		require.NoError(t, pay.Send(t.Context(), rt.Client, unit{1}))
		require.NoError(t, pay.Send(t.Context(), rt.Client, unit{2}))
		require.NoError(t, paid.Publish(t.Context(), rt.Client, unit{3}))
		answer, err := quote.Call(t.Context(), rt.Client, unit{4})
		require.NoError(t, err)
		require.Equal(t, unit{4}, answer)

		// A caller that gives up cancels its request on the channel on which others wait for their replies.
		patient := make(chan error, 1)
		go func() {
			_, err := quote.Call(t.Context(), rt.Client, unit{5})
			patient <- err
		}()
		<-asked
		gone, giveUp := context.WithCancel(t.Context())
		impatient := make(chan error, 1)
		go func() {
			_, err := quote.Call(gone, rt.Client, unit{6})
			impatient <- err
		}()
		<-asked
		giveUp()
		require.ErrorIs(t, <-impatient, leveret.Canceled)
		if c.permissions["configure"] != "^$" { // otherwise there is no queue to receive it from
			<-told
		}
		_, err = quote.Call(t.Context(), rt.Client, unit{4})
		require.NoError(t, err)
		close(release)
		require.NoError(t, <-patient)

		<-retried
		<-dead
		require.Equal(t, 0, r.end(t))
		for _, refused := range []string{"cannot declare; using what exists", "cannot declare; using it if it exists", "not consuming", "connection lost", "a failed message cannot be put aside; trying again"} {
			require.Empty(t, r.log.records(t, refused), r.log)
		}
	}
}

var (
	pay   = leveret.NewCommand[unit]("payment.capture", leveret.Retry(leveret.RetryPolicy{Attempts: 2, Delays: []time.Duration{time.Second}}))
	paid  = leveret.NewEvent[unit]("payment.captured")
	quote = leveret.NewRequest[unit, unit]("payment.authorize", leveret.Timeout(2*time.Minute))
	// restricted is a service in every role.
	restricted = leveret.NewService("payment",
		leveret.Handles(pay), leveret.Sends(pay), leveret.SubscribesTo(paid), leveret.Publishes(paid), leveret.Answers(quote), leveret.Calls(quote))
)

// documented returns a row of the table of permissions in the documentation.
func documented(t *testing.T, row string) map[string]string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	cells := regexp.MustCompile("(?m)^\\| " + row + " \\| `([^`]+)` \\| `([^`]+)` \\| `([^`]+)` \\|$").FindSubmatch(page)
	require.Len(t, cells, 4, "no row %q in the table of permissions", row)
	unescape := func(cell []byte) string { return string(bytes.ReplaceAll(cell, []byte(`\|`), []byte("|"))) }
	return map[string]string{"configure": unescape(cells[1]), "write": unescape(cells[2]), "read": unescape(cells[3])}
}

// restrictedUser makes a user with some permissions, and returns the broker's URL with it.
func restrictedUser(t *testing.T, broker string, permissions map[string]string) string {
	t.Helper()
	name := "user-" + rand.Text()
	manage(t, http.MethodPut, map[string]string{"password": "p", "tags": ""}, "users", name)
	t.Cleanup(func() { manage(t, http.MethodDelete, nil, "users", name) })
	manage(t, http.MethodPut, permissions, "permissions", leverettest.VHost(t, broker), name)
	u, err := url.Parse(broker)
	require.NoError(t, err)
	u.User = url.UserPassword(name, "p")
	return u.String()
}

// manage calls the management API.
func manage(t *testing.T, method string, body any, path ...string) {
	t.Helper()
	api, err := leverettest.Node(t).Management()
	require.NoError(t, err)
	require.NoError(t, api.Call(context.WithoutCancel(t.Context()), method, body, nil, path...))
}
