package auth

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// ErrTooManyAttempts says that a password was not checked, because too many were tried before.
var ErrTooManyAttempts = leveret.NewError(leveret.ResourceExhausted, "too_many_attempts", "too many attempts; try again later")

// maxTracked is how many users the attempts are counted for at once.
const maxTracked = 10_000

// attempts limits how often passwords are tried, on one user and on all together. It is safe for concurrent use.
type attempts struct {
	each  rate.Limit
	burst int
	most  int // users

	mu    sync.Mutex
	total *rate.Limiter
	users map[string]*rate.Limiter
}

func newAttempts(c Config) *attempts {
	return &attempts{
		each: rate.Every(c.UserInterval), burst: c.UserAttempts, most: maxTracked,
		total: rate.NewLimiter(rate.Every(c.TotalInterval), c.TotalAttempts), users: make(map[string]*rate.Limiter),
	}
}

// take counts an attempt at now. It fails with ErrTooManyAttempts, and the time after which the next one is allowed. An
// attempt on nobody, with an empty userID, counts for all together alone.
//
// The users that are remembered are bounded: each of them cost an attempt of the total, and is forgotten once its own
// attempts are all allowed again.
func (a *attempts) take(userID string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	user := a.users[userID]
	giveBack := func() {}
	if user != nil {
		own, err := spend(user, now)
		if err != nil {
			return err
		}
		giveBack = func() { own.CancelAt(now) }
	} else if len(a.users) >= a.most {
		a.forget(now)
		if len(a.users) >= a.most {
			return leveret.RetryAfter(time.Second, ErrTooManyAttempts)
		}
	}
	if _, err := spend(a.total, now); err != nil {
		giveBack() // what others have tried is not the user's fault
		return err
	}
	if user == nil && userID != "" {
		user = rate.NewLimiter(a.each, a.burst)
		a.users[userID] = user
		_, err := spend(user, now)
		return err
	}
	return nil
}

// forget drops the users who are like new.
func (a *attempts) forget(now time.Time) {
	for id, user := range a.users {
		if user.TokensAt(now) >= float64(a.burst) {
			delete(a.users, id)
		}
	}
}

func spend(l *rate.Limiter, now time.Time) (*rate.Reservation, error) {
	r := l.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return nil, leveret.RetryAfter(wait, ErrTooManyAttempts)
	}
	return r, nil
}
