package token

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// keySet caches the public keys.
type keySet struct {
	config VerifierConfig
	// turn is held by the one that fetches. It guards tried and err, which are the time and the result of the last fetch.
	turn  chan struct{}
	tried time.Time
	err   error

	mu    sync.RWMutex
	known map[string]knownKey
}

type knownKey struct {
	key      ed25519.PublicKey
	notAfter time.Time
}

func newKeySet(config VerifierConfig) *keySet {
	return &keySet{config: config, turn: make(chan struct{}, 1)}
}

// find returns a key that has not expired.
func (s *keySet) find(keyID string) (ed25519.PublicKey, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.known[keyID]
	if !ok || s.config.Now().After(k.notAfter) {
		return nil, false
	}
	return k.key, true
}

// refresh fetches the keys, unless that was tried less than MinInterval ago; it then returns what came of that. It
// waits for a fetch that runs. The end of ctx does not end a fetch, since others wait for it too.
func (s *keySet) refresh(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return leveret.Errorf(leveret.CodeOf(ctx.Err()), "waiting for the keys of access tokens: %w", context.Cause(ctx))
	}
	now := s.config.Now()
	if next := s.tried.Add(s.config.MinInterval); !s.tried.IsZero() && now.Before(next) {
		if s.err != nil {
			return leveret.RetryAfter(next.Sub(now), s.err)
		}
		return nil
	}
	s.tried = now
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.FetchTimeout)
	defer cancel()
	if s.err = s.fetch(ctx); s.err != nil {
		return leveret.RetryAfter(s.config.MinInterval, s.err)
	}
	return nil
}

func (s *keySet) fetch(ctx context.Context) error {
	keys, err := s.config.Keys(ctx)
	if err == nil && len(keys) == 0 {
		err = errors.New("there are none")
	}
	if err != nil {
		return leveret.NewError(ErrNoKeys.Code, ErrNoKeys.Reason, ErrNoKeys.Message+": "+err.Error())
	}
	known := make(map[string]knownKey, len(keys))
	for _, k := range keys {
		if key, err := k.Ed25519(); err == nil { // other kinds may come one day
			known[k.KeyID] = knownKey{key, k.NotAfter}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = known
	return nil
}
