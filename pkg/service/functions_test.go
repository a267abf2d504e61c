package service_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/service"
)

// What is wrong with the handlers is said once, however many servers Setup makes of them, and keeps its code.
func TestAMissingHandlerIsSaidOnce(t *testing.T) {
	t.Parallel()
	var setup error
	r := start(t, service.Program{Service: units, Setup: func(_ context.Context, rt *service.Runtime) error {
		overHTTP, badHTTP := httprpc.NewServer(rt.Handlers, httprpc.ServerConfig{})
		_, badGRPC := grpcrpc.NewServer(rt.Handlers, grpcrpc.ServerConfig{}) // without methods, which is another mistake
		rt.ServeHTTP(http.Handler(overHTTP))
		setup = errors.Join(badHTTP, badGRPC)
		return setup
	}}, at(nowhere))
	said, ok := r.log.await(t, "ended by an error")["error"].(string)
	require.True(t, ok)
	for _, one := range []string{"handles unit.do, but has no handler", "answers unit.ask, but has no handler", "there are no methods"} {
		require.Equal(t, 1, strings.Count(said, one), said)
	}
	require.Equal(t, 1, r.end(t))
	require.Equal(t, leveret.InvalidArgument, leveret.CodeOf(setup))
	require.Len(t, r.log.records(t, "ended by an error"), 1)
}
