package auth

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/store"
	"github.com/leveretmq/leveret/pkg/shop/token"
	"github.com/leveretmq/leveret/queues"
)

var (
	// ErrWrongCredentials says that a password is wrong, or the user unknown: which of them it does not say.
	ErrWrongCredentials = leveret.NewError(leveret.Unauthenticated, "wrong_credentials", "the user is unknown, or the password is wrong")
	// ErrPasswordSet says that the user has another password already.
	ErrPasswordSet = leveret.NewError(leveret.AlreadyExists, "password_set", "the user has another password already")
)

// A Service handles the auth service's messages. It is safe for concurrent use.
type Service struct {
	store    *Store
	config   Config
	rotation rotation
	hasher   *hasher
	attempts *attempts
	now      func() time.Time
}

// New returns a service that keeps everything in s. Its error says which setting is wrong.
func New(s *Store, config Config) (*Service, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Service{
		store: s, config: config, rotation: config.rotation(), hasher: newHasher(config), attempts: newAttempts(config), now: time.Now,
	}, nil
}

// Register makes the service the handler of everything that queues.Auth serves.
func (s *Service) Register(h *leveret.Handlers) {
	queues.SetPassword.Answer(h, s.SetPassword)
	queues.CheckPassword.Answer(h, s.CheckPassword)
	queues.RefreshTokens.Answer(h, s.Refresh)
	queues.LogOut.Answer(h, s.LogOut)
	queues.ListKeys.Answer(h, s.Keys)
}

// The limits of what Run does at once, and how often.
const (
	maintainEvery = time.Minute
	maxRemoved    = 500
)

// Run rotates the keys in time and removes expired sessions, until ctx ends; it then returns nil. Without it the keys
// still rotate, but only when a token is signed or the keys are asked for.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		if err := s.maintain(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.LogAttrs(ctx, slog.LevelWarn, "auth: keys and sessions are not maintained", slog.String("error", err.Error()))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *Service) maintain(ctx context.Context) error {
	if _, err := s.keys(ctx); err != nil {
		return err
	}
	for {
		if n, err := s.store.removeExpired(ctx, s.now(), maxRemoved); err != nil || n < maxRemoved {
			return err
		}
	}
}

// SetPassword sets the password of a new user.
func (s *Service) SetPassword(ctx context.Context, r queues.SetPasswordRequest) (reply queues.SetPasswordReply, err error) {
	stored, found, err := findHash(ctx, s.store.Reader(), r.UserID)
	if err != nil {
		return reply, err
	}
	if !found {
		made, err := s.hasher.hash(ctx, r.Password)
		if err != nil {
			return reply, err
		}
		inserted, err := s.store.insertHash(ctx, r.UserID, made, s.now())
		if err != nil || inserted {
			return reply, err
		}
		if stored, _, err = findHash(ctx, s.store.Reader(), r.UserID); err != nil { // somebody else was quicker
			return reply, err
		}
	}
	// The answer says whether the password is right, so it is limited as at a log-in.
	if err := s.attempts.take(r.UserID, s.now()); err != nil {
		return reply, err
	}
	same, err := s.hasher.check(ctx, r.Password, stored)
	if err == nil && !same {
		err = ErrPasswordSet
	}
	return reply, err
}

// CheckPassword begins a session if the password is right. It computes one hash, whether the user is known or not, and
// a second one only if the password is right and its hash has old parameters.
func (s *Service) CheckPassword(ctx context.Context, r queues.CheckPasswordRequest) (queues.Tokens, error) {
	if err := s.attempts.take(r.UserID, s.now()); err != nil {
		return queues.Tokens{}, err
	}
	stored, found, err := findHash(ctx, s.store.Reader(), r.UserID)
	if err != nil {
		return queues.Tokens{}, err
	}
	if !found {
		stored = s.hasher.dummy
	}
	right, err := s.hasher.check(ctx, r.Password, stored)
	if err != nil {
		return queues.Tokens{}, err
	}
	if !right || !found {
		return queues.Tokens{}, ErrWrongCredentials
	}
	fresh := stored
	if stored.hashParams != s.hasher.params {
		if made, err := s.hasher.hash(ctx, r.Password); err == nil { // if it cannot be now, then at another log-in
			fresh = made
		}
	}
	return s.begin(ctx, r.UserID, stored, fresh)
}

// begin begins a session.
func (s *Service) begin(ctx context.Context, userID string, stored, fresh passwordHash) (tokens queues.Tokens, err error) {
	now, refresh := s.now(), newRefreshToken()
	err = s.store.InTx(ctx, func(tx *sql.Tx) error {
		if fresh.hashParams != stored.hashParams {
			if err := replaceHash(ctx, tx, userID, stored, fresh, now); err != nil {
				return err
			}
		}
		t := &refreshToken{userID: userID, expiresAt: store.Moment(now.Add(s.config.RefreshTTL))}
		if t.sessionID, err = insertSession(ctx, tx, userID, now, t.expiresAt); err != nil {
			return err
		}
		if err := insertToken(ctx, tx, hashToken(refresh), t); err != nil {
			return err
		}
		tokens, err = s.tokens(ctx, tx, t, refresh, now)
		return err
	})
	return tokens, err
}

// Refresh exchanges a refresh token for new tokens. If the token was used before, by another message, Refresh ends the
// session.
func (s *Service) Refresh(ctx context.Context, r queues.RefreshTokensRequest) (tokens queues.Tokens, err error) {
	now := s.now()
	var refused error // the transaction is committed all the same
	err = s.store.InTx(ctx, func(tx *sql.Tx) error {
		refused = nil
		t, err := findToken(ctx, tx, hashToken(r.RefreshToken))
		if err != nil {
			return err
		}
		if t == nil {
			refused = ErrTokenInvalid
			return nil
		}
		switch t.use(store.MessageID(ctx), now, s.config.RefreshGrace) {
		case useRotate:
			tokens, err = s.rotateToken(ctx, tx, t, r.RefreshToken, now)
			return err
		case useRepeat:
			next := *t
			next.expiresAt = t.usedAt.Add(s.config.RefreshTTL)
			tokens, err = s.tokens(ctx, tx, &next, nextRefreshToken(r.RefreshToken, t.salt), now)
			return err
		case useStolen:
			refused = ErrTokenInvalid
			return endSession(ctx, tx, t.sessionID, "token_reused", now)
		case useExpired:
			refused = ErrTokenExpired
		default:
			refused = ErrTokenInvalid
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	return tokens, err
}

// rotateToken uses a refresh token up.
func (s *Service) rotateToken(ctx context.Context, tx *sql.Tx, t *refreshToken, old leveret.Secret, now time.Time) (queues.Tokens, error) {
	salt := random(hashSize)
	refresh := nextRefreshToken(old, salt)
	next := *t
	next.expiresAt = store.Moment(now.Add(s.config.RefreshTTL))
	if err := useToken(ctx, tx, t, salt, hashToken(refresh), now); err != nil {
		return queues.Tokens{}, err
	}
	if err := insertToken(ctx, tx, hashToken(refresh), &next); err != nil {
		return queues.Tokens{}, err
	}
	return s.tokens(ctx, tx, &next, refresh, now)
}

// tokens signs an access token for the session of a refresh token, and returns both.
func (s *Service) tokens(ctx context.Context, tx *sql.Tx, t *refreshToken, refresh leveret.Secret, now time.Time) (queues.Tokens, error) {
	plan, err := s.rotation.rotate(ctx, tx, now)
	if err != nil {
		return queues.Tokens{}, err
	}
	key, err := plan.signer.private()
	if err != nil {
		return queues.Tokens{}, err
	}
	issued := now.UTC().Truncate(time.Second)
	expires := issued.Add(s.config.AccessTTL).Truncate(time.Second)
	access, err := token.Sign(plan.signer.id, key, token.Claims{
		Issuer: s.config.Issuer, Audience: s.config.Audience, UserID: t.userID, SessionID: t.sessionID,
		ID: uuid.NewString(), IssuedAt: issued, ExpiresAt: expires,
	})
	if err != nil {
		return queues.Tokens{}, err
	}
	return queues.Tokens{
		UserID: t.userID, AccessToken: access, AccessExpiresAt: expires, RefreshToken: refresh, RefreshExpiresAt: t.expiresAt,
	}, nil
}

// LogOut ends the session of a refresh token, whether the token was used or not.
func (s *Service) LogOut(ctx context.Context, r queues.LogOutRequest) (reply queues.LogOutReply, err error) {
	return reply, s.store.InTx(ctx, func(tx *sql.Tx) error {
		t, err := findToken(ctx, tx, hashToken(r.RefreshToken))
		if err != nil || t == nil {
			return err
		}
		return endSession(ctx, tx, t.sessionID, "logged_out", s.now())
	})
}

// Keys returns the public keys.
func (s *Service) Keys(ctx context.Context, _ queues.ListKeysRequest) (queues.ListKeysReply, error) {
	plan, err := s.keys(ctx)
	if err != nil {
		return queues.ListKeysReply{}, err
	}
	reply := queues.ListKeysReply{Keys: make([]queues.PublicKey, len(plan.published))}
	for i, k := range plan.published {
		private, err := k.private()
		if err != nil {
			return queues.ListKeysReply{}, err
		}
		public, _ := private.Public().(ed25519.PublicKey)
		reply.Keys[i] = queues.NewPublicKey(k.id, public, k.notAfter)
	}
	return reply, nil
}

// keys returns the current keys, and rotates them first if it is time.
func (s *Service) keys(ctx context.Context) (plan keyPlan, err error) {
	now := s.now()
	plan, err = s.rotation.keys(ctx, s.store.Reader(), now)
	if err != nil || !plan.create && len(plan.remove) == 0 {
		return plan, err
	}
	err = s.store.InTx(ctx, func(tx *sql.Tx) error {
		plan, err = s.rotation.rotate(ctx, tx, now)
		return err
	})
	return plan, err
}
