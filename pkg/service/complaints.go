package service

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// complaints logs that the broker cannot be reached, but not for every attempt: the first time, and then once per
// complaintsEvery.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

const complaintsEvery = 30 * time.Second

func (c *complaints) about(ctx context.Context, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last) < complaintsEvery {
		return
	}
	c.last = time.Now()
	c.log.WarnContext(ctx, "cannot connect to the broker; trying again", "error", err)
}
