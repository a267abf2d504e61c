package gateway

import (
	"context"

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
