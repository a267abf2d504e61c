package user

import (
	"context"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

const (
	// announceWithin is how long a registration waits for its announcement. Longer than that, it is Run's.
	announceWithin = 500 * time.Millisecond
	// announceEvery is how often Run looks for users who are not announced.
	announceEvery = 10 * time.Second
	// maxAnnounced is how many users Run reads at once.
	maxAnnounced = 100
)

// Run announces the users whose registration could not, until ctx ends; it then returns nil. So a registration does not
// depend on the broker, and no announcement is lost with the process.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(announceEvery)
	defer ticker.Stop()
	for {
		if err := s.announceRest(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.LogAttrs(ctx, slog.LevelWarn, "user: registered users are not announced", slog.String("error", err.Error()))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// announceRest announces the active users who are not announced. One whose registration is announcing it at this moment
// is announced twice, under the same id.
func (s *Service) announceRest(ctx context.Context) error {
	for {
		users, err := s.store.notAnnounced(ctx, maxAnnounced)
		if err != nil {
			return err
		}
		for _, u := range users {
			if err := s.announce(ctx, u); err != nil {
				return err
			}
		}
		if len(users) < maxAnnounced {
			return nil
		}
	}
}

// tryAnnounce announces a user as part of the registration, and so of its conversation and trace. If that takes too
// long, Run does it later.
func (s *Service) tryAnnounce(ctx context.Context, u *User) {
	ctx, cancel := context.WithTimeout(ctx, announceWithin)
	defer cancel()
	if err := s.announce(ctx, u); err != nil {
		s.config.Logger.LogAttrs(ctx, slog.LevelInfo, "user: a registered user will be announced later",
			slog.String("user_id", u.ID), slog.String("error", err.Error()))
	}
}

// announce publishes UserRegistered. If the process dies before that is recorded, it is published again, under the same
// id.
func (s *Service) announce(ctx context.Context, u *User) error {
	if err := queues.UserRegistered.Publish(ctx, s.sender, u.registered(), leveret.MessageID(eventID(u.ID))); err != nil {
		return err
	}
	return s.store.announced(ctx, u.ID, s.now())
}
