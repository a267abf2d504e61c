package gateway

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// SignUp registers a customer.
func (s *Service) SignUp(ctx context.Context, r RegisterRequest) (User, error) {
	u, err := queues.RegisterUser.Call(ctx, s.call.User, queues.RegisterUserRequest{
		UserID: userID(leveret.MessageFrom(ctx).ID), Email: r.Email, Name: r.Name, Password: r.Password,
	})
	if err != nil {
		return User{}, err
	}
	return User(u), nil
}

// userID returns the id of the user that a request registers: the same for the same Idempotency-Key, so that a request
// that is repeated registers nobody twice.
func userID(key string) string {
	if u, err := uuid.Parse(key); err == nil && u.Version() == 7 && u.String() == key {
		return key
	}
	sum := sha256.Sum256([]byte("user\x00" + key))
	u := uuid.UUID(sum[:16])
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80 // version 8
	return u.String()
}

// Me returns the customer who is logged in.
func (s *Service) Me(ctx context.Context, _ Nothing) (User, error) {
	id, err := customer(ctx)
	if err != nil {
		return User{}, err
	}
	u, err := queues.ShowUser.Call(ctx, s.call.User, queues.ShowUserRequest{UserID: id})
	if err != nil {
		return User{}, err
	}
	return User(u), nil
}

// LogIn begins a session.
func (s *Service) LogIn(ctx context.Context, r LogInRequest) (Session, error) {
	t, err := queues.LogIn.Call(ctx, s.call.User, queues.LogInRequest{Email: r.Email, Password: r.Password})
	if err != nil {
		return Session{}, err
	}
	return sessionOf(t), nil
}

// Refresh exchanges a refresh token for new tokens.
func (s *Service) Refresh(ctx context.Context, r TokenRequest) (Session, error) {
	t, err := queues.RefreshTokens.Call(ctx, s.call.Auth, queues.RefreshTokensRequest{RefreshToken: r.RefreshToken})
	if err != nil {
		return Session{}, err
	}
	return sessionOf(t), nil
}

// LogOut ends the session of a refresh token.
func (s *Service) LogOut(ctx context.Context, r TokenRequest) (Nothing, error) {
	_, err := queues.LogOut.Call(ctx, s.call.Auth, queues.LogOutRequest{RefreshToken: r.RefreshToken})
	return Nothing{}, err
}

func sessionOf(t queues.Tokens) Session {
	return Session{
		AccessToken: t.AccessToken, TokenType: "Bearer", AccessExpiresAt: t.AccessExpiresAt,
		RefreshToken: t.RefreshToken, RefreshExpiresAt: t.RefreshExpiresAt,
	}
}
