package user

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Config holds the settings of the user service. The zero value of a field is its default.
type Config struct {
	// PendingTTL is how long an interrupted registration keeps its email to itself. After that, another user_id can have
	// it. Default 1 h.
	PendingTTL time.Duration
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// A Service handles the user service's messages. It is safe for concurrent use.
type Service struct {
	store  *Store
	sender leveret.Sender
	auth   leveret.Caller
	config Config
	now    func() time.Time
}

// New returns a service that keeps its users in s, publishes through sender, and calls the auth service through auth.
func New(s *Store, sender leveret.Sender, auth leveret.Caller, config Config) *Service {
	config.PendingTTL = cmp.Or(config.PendingTTL, time.Hour)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Service{store: s, sender: sender, auth: auth, config: config, now: time.Now}
}

// Register makes the service the handler of everything that queues.User serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.RegisterUser.Answer(h, s.RegisterUser)
	queues.LogIn.Answer(h, s.LogIn)
	queues.ShowUser.Answer(h, s.Show)
}

// RegisterUser registers a user. Each step can be repeated, so that a repeated request finishes what an interrupted one
// has begun. The password is checked every time: only the auth service knows whether it is the same.
func (s *Service) RegisterUser(ctx context.Context, r queues.RegisterUserRequest) (reply queues.RegisterUserReply, err error) {
	u, err := s.store.insert(ctx, r, s.now(), s.config.PendingTTL)
	if err != nil {
		return reply, err
	}
	_, err = queues.SetPassword.Call(ctx, s.auth, queues.SetPasswordRequest{UserID: u.ID, Password: r.Password})
	if errors.Is(err, leveret.AlreadyExists) {
		return reply, ErrUserExists
	}
	if err != nil {
		return reply, err
	}
	if u.State == StatePending {
		if u, err = s.store.activate(ctx, u.ID); err != nil {
			return reply, err
		}
	}
	s.tryAnnounce(ctx, u)
	return queues.RegisterUserReply{UserID: u.ID, Email: u.Email, Name: u.Name, RegisteredAt: u.RegisteredAt}, nil
}

// LogIn asks the auth service to check the password. For an email that no user has, it asks about a user that does not
// exist, so that the two cannot be told apart.
func (s *Service) LogIn(ctx context.Context, r queues.LogInRequest) (queues.Tokens, error) {
	email := queues.NormalEmail(r.Email)
	userID := nobody(email)
	u, err := s.store.findByEmail(ctx, email)
	switch {
	case err == nil:
		userID = u.ID
	case !errors.Is(err, ErrUnknown):
		return queues.Tokens{}, err
	}
	tokens, err := queues.CheckPassword.Call(ctx, s.auth, queues.CheckPasswordRequest{UserID: userID, Password: r.Password})
	if err != nil {
		return queues.Tokens{}, err
	}
	if err := tokens.Validate(); err != nil {
		return queues.Tokens{}, leveret.Errorf(leveret.Internal, "the tokens: %w", err)
	}
	if u == nil || tokens.UserID != u.ID {
		return queues.Tokens{}, leveret.Errorf(leveret.Internal, "the tokens are for another user")
	}
	return tokens, nil
}

// Show returns a registered user.
func (s *Service) Show(ctx context.Context, q queues.ShowUserRequest) (queues.ShowUserReply, error) {
	u, err := s.store.find(ctx, q.UserID)
	if err != nil {
		return queues.ShowUserReply{}, err
	}
	return queues.ShowUserReply{UserID: u.ID, Email: u.Email, Name: u.Name, RegisteredAt: u.RegisteredAt}, nil
}
