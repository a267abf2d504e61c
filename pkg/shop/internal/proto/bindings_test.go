package shopproto_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	shopproto "github.com/leveretmq/leveret/pkg/shop/internal/proto"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

const id, other = "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41", "0197a6c4-5a10-7b44-9f0e-2c6d1e8a7b93"

var at = time.Date(2026, time.June, 1, 12, 0, 0, 123456789, time.UTC)

// connect serves handlers over gRPC, and returns a caller of them.
func connect(t *testing.T, h *leveret.Handlers, calls []leveret.Contract, methods []grpcrpc.Method) *grpcrpc.Caller {
	t.Helper()
	server, err := grpcrpc.NewServer(h, grpcrpc.ServerConfig{}, methods...)
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	c, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{
		Service: leveret.NewService("test", leveret.Calls(calls...)), Addresses: []string{l.Addr().String()},
	}, methods...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// answered makes a request's answer the reply that is given, and returns the request that arrived.
func answered[Q, R any](t *testing.T, r *leveret.Request[Q, R], h *leveret.Handlers, reply R) *Q {
	t.Helper()
	got := new(Q)
	r.Answer(h, func(_ context.Context, q Q) (R, error) {
		*got = q
		return reply, nil
	})
	return got
}

// requireSame calls, and checks that nothing is lost on either way.
func requireSame[Q, R any](t *testing.T, c leveret.Caller, r *leveret.Request[Q, R], request Q, got *Q, reply R) {
	t.Helper()
	answer, err := r.Call(t.Context(), c, request)
	require.NoError(t, err)
	require.Equal(t, request, *got)
	require.Equal(t, reply, answer)
}

var payment = leveret.NewService("payment", leveret.Answers(queues.AuthorizePayment, queues.ClosePayment))

func TestPayment(t *testing.T) {
	t.Parallel()
	h := leveret.NewHandlers(payment, leveret.HandlersConfig{})
	request := queues.AuthorizePaymentRequest{OrderID: id, CardToken: "tok_visa", Amount: queues.Money{Amount: 1998, Currency: "EUR"}}
	reply := queues.AuthorizePaymentReply{
		OrderID: id, AuthorizationID: other, Status: queues.PaymentDeclined, DeclineReason: "insufficient_funds",
		Amount: request.Amount, DecidedAt: at,
	}
	got := answered(t, queues.AuthorizePayment, h, reply)
	closed := queues.ClosePaymentReply{OrderID: id, State: queues.ClosedRefunded}
	asked := answered(t, queues.ClosePayment, h, closed)
	c := connect(t, h, payment.Contracts(leveret.RoleAnswers), shopproto.Payment())
	requireSame(t, c, queues.AuthorizePayment, request, got, reply)
	requireSame(t, c, queues.ClosePayment, queues.ClosePaymentRequest{OrderID: id}, asked, closed)
	_, err := queues.AuthorizePayment.Call(t.Context(), c, queues.AuthorizePaymentRequest{})
	require.ErrorIs(t, err, leveret.InvalidArgument)
}

func TestPaymentStatusIsOpen(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]string{
		queues.PaymentAuthorized: queues.PaymentAuthorized, queues.PaymentDeclined: queues.PaymentDeclined, "postponed": "",
	} {
		h := leveret.NewHandlers(payment, leveret.HandlersConfig{})
		answered(t, queues.AuthorizePayment, h, queues.AuthorizePaymentReply{Status: status})
		answered(t, queues.ClosePayment, h, queues.ClosePaymentReply{})
		c := connect(t, h, payment.Contracts(leveret.RoleAnswers), shopproto.Payment())
		reply, err := queues.AuthorizePayment.Call(t.Context(), c,
			queues.AuthorizePaymentRequest{OrderID: id, CardToken: "tok_visa", Amount: queues.Money{Amount: 1, Currency: "EUR"}})
		require.NoError(t, err)
		require.Equal(t, queues.AuthorizePaymentReply{Status: want}, reply)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	h := leveret.NewHandlers(queues.Auth, leveret.HandlersConfig{})
	tokens := queues.Tokens{
		UserID: id, AccessToken: "access", AccessExpiresAt: at, RefreshToken: "refresh", RefreshExpiresAt: at.Add(time.Hour),
	}
	keys := queues.ListKeysReply{Keys: []queues.PublicKey{
		queues.NewPublicKey("k1", []byte(strings.Repeat("k", 32)), at),
		{KeyID: "k2", Type: "RSA", Curve: "none", X: "x", NotAfter: at},
	}}
	set := answered(t, queues.SetPassword, h, queues.SetPasswordReply{})
	check := answered(t, queues.CheckPassword, h, tokens)
	refresh := answered(t, queues.RefreshTokens, h, tokens)
	out := answered(t, queues.LogOut, h, queues.LogOutReply{})
	list := answered(t, queues.ListKeys, h, keys)
	c := connect(t, h, queues.Auth.Contracts(leveret.RoleAnswers), shopproto.Auth())
	requireSame(t, c, queues.SetPassword, queues.SetPasswordRequest{UserID: id, Password: "correct horse"}, set, queues.SetPasswordReply{})
	requireSame(t, c, queues.CheckPassword, queues.CheckPasswordRequest{UserID: id, Password: "correct horse"}, check, tokens)
	requireSame(t, c, queues.CheckPassword, queues.CheckPasswordRequest{Password: "correct horse"}, check, tokens)
	requireSame(t, c, queues.RefreshTokens, queues.RefreshTokensRequest{RefreshToken: "refresh"}, refresh, tokens)
	requireSame(t, c, queues.LogOut, queues.LogOutRequest{RefreshToken: "refresh"}, out, queues.LogOutReply{})
	requireSame(t, c, queues.ListKeys, queues.ListKeysRequest{}, list, keys)
}
