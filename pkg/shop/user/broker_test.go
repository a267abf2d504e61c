package user

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/auth"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/token"
	"github.com/leveretmq/leveret/queues"
)

// TestOverTheBroker goes from registering to logging out, as a gateway would, with both services behind RabbitMQ.
func TestOverTheBroker(t *testing.T) {
	t.Parallel()
	broker := leverettest.Broker(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{broker}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) })

	work, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer stop()
	serve := func(h *leveret.Handlers) {
		w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
		require.NoError(t, err)
		workers.Go(func() {
			if err := w.Run(work); err != nil {
				t.Error(err)
			}
		})
	}
	client := func(s *leveret.Service) *leveret.Client {
		c, err := leveret.NewClient(conn, s, leveret.ClientConfig{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close(context.WithoutCancel(t.Context()))) })
		return c
	}

	authStore, err := auth.OpenStore(ctx, shoptest.Source(t, "auth"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, authStore.Close()) })
	authService, err := auth.New(authStore, auth.Config{HashMemory: 64, HashTime: 1})
	require.NoError(t, err)
	h := leveret.NewHandlers(queues.Auth, leveret.HandlersConfig{})
	authService.Register(h)
	serve(h)

	userStore, err := OpenStore(ctx, shoptest.Source(t, "user"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, userStore.Close()) })
	users := client(queues.User)
	h = leveret.NewHandlers(queues.User, leveret.HandlersConfig{})
	New(userStore, users, users, Config{}).Register(h)
	serve(h)

	gateway := client(leveret.NewService("gateway", leveret.Calls(queues.RegisterUser, queues.LogIn, queues.ShowUser,
		queues.RefreshTokens, queues.LogOut, queues.ListKeys)))
	r := request("ada@example.com")
	require.Eventually(t, func() bool { // until both serve
		_, err := queues.RegisterUser.Call(ctx, gateway, r)
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	_, err = queues.RegisterUser.Call(ctx, gateway, request("ada@example.com"))
	require.ErrorIs(t, err, ErrEmailTaken)
	_, err = queues.LogIn.Call(ctx, gateway, queues.LogInRequest{Email: r.Email, Password: "wrong"})
	require.ErrorIs(t, err, auth.ErrWrongCredentials)

	tokens, err := queues.LogIn.Call(ctx, gateway, queues.LogInRequest{Email: r.Email, Password: r.Password})
	require.NoError(t, err)
	v, err := token.NewVerifier(token.VerifierConfig{Keys: token.FromAuth(gateway)})
	require.NoError(t, err)
	p, err := v.Verify(ctx, string(tokens.AccessToken))
	require.NoError(t, err)
	require.Equal(t, r.UserID, p.UserID)

	refresh := queues.RefreshTokensRequest{RefreshToken: tokens.RefreshToken}
	first, err := queues.RefreshTokens.Call(ctx, gateway, refresh, leveret.MessageID("one"))
	require.NoError(t, err)
	again, err := queues.RefreshTokens.Call(ctx, gateway, refresh, leveret.MessageID("one"))
	require.NoError(t, err)
	require.Equal(t, first.RefreshToken, again.RefreshToken)
	_, err = queues.LogOut.Call(ctx, gateway, queues.LogOutRequest{RefreshToken: again.RefreshToken})
	require.NoError(t, err)
	_, err = queues.RefreshTokens.Call(ctx, gateway, queues.RefreshTokensRequest{RefreshToken: again.RefreshToken})
	require.ErrorIs(t, err, auth.ErrTokenInvalid)

	for range 20 { // the limit is per user, and travels with its delay
		if _, err = queues.LogIn.Call(ctx, gateway, queues.LogInRequest{Email: r.Email, Password: "wrong"}); leveret.CodeOf(err) == leveret.ResourceExhausted {
			break
		}
	}
	require.ErrorIs(t, err, auth.ErrTooManyAttempts)
	require.Positive(t, leveret.RetryDelay(err))
}
