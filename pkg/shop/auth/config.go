package auth

import (
	"cmp"
	"log/slog"
	"runtime"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/token"
)

// Config holds the settings of the auth service. The zero value of a field is its default.
type Config struct {
	// Issuer and Audience are what access tokens name. Default token.DefaultIssuer and token.DefaultAudience.
	Issuer, Audience string

	// AccessTTL is how long an access token lives. Default 5 min.
	AccessTTL time.Duration
	// RefreshTTL is how long a refresh token lives, and so a session that is not used. Default 30 days.
	RefreshTTL time.Duration
	// RefreshGrace is how long a repeated refresh gets the same refresh token again. Default 1 min.
	RefreshGrace time.Duration

	// RotateEvery is how long a key signs. Default 24 h.
	RotateEvery time.Duration
	// KeyLead is how long a key is published before it signs. It must be longer than the verifiers take to fetch the keys
	// (token.VerifierConfig.RefreshEvery), and shorter than RotateEvery. Default 1 h.
	KeyLead time.Duration

	// HashMemory (in KiB), HashTime and HashThreads are the parameters of argon2id for new passwords; an old password gets
	// them at the next log-in. Default 19456 (19 MiB), 2 and 1, as OWASP recommends.
	HashMemory, HashTime uint32
	HashThreads          uint8
	// MaxHashes is how many hashes are computed at once. The process needs two to three times HashMemory for each, since
	// garbage is collected late. Default: GOMAXPROCS, at most 6.
	MaxHashes int
	// MaxWaiting is how many computations wait for their turn; more are refused with ResourceExhausted. Default 100.
	MaxWaiting int

	// UserAttempts is how many passwords can be tried on a user at once, after which one more is allowed every
	// UserInterval. Default 10 and 6 s.
	UserAttempts int
	UserInterval time.Duration
	// TotalAttempts and TotalInterval are the same for all users together. Default 200 and 20 ms.
	TotalAttempts int
	TotalInterval time.Duration

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// withDefaults returns the settings with defaults, or what is wrong with them.
func (c Config) withDefaults() (Config, error) {
	c.Issuer, c.Audience = cmp.Or(c.Issuer, token.DefaultIssuer), cmp.Or(c.Audience, token.DefaultAudience)
	c.HashMemory, c.HashTime, c.HashThreads = cmp.Or(c.HashMemory, 19<<10), cmp.Or(c.HashTime, 2), cmp.Or(c.HashThreads, 1)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	for _, d := range [...]struct {
		name    string
		value   *time.Duration
		initial time.Duration
	}{
		{"AccessTTL", &c.AccessTTL, 5 * time.Minute},
		{"RefreshTTL", &c.RefreshTTL, 30 * 24 * time.Hour},
		{"RefreshGrace", &c.RefreshGrace, time.Minute},
		{"RotateEvery", &c.RotateEvery, 24 * time.Hour},
		{"KeyLead", &c.KeyLead, time.Hour},
		{"UserInterval", &c.UserInterval, 6 * time.Second},
		{"TotalInterval", &c.TotalInterval, 20 * time.Millisecond},
	} {
		if *d.value < 0 {
			return c, leveret.Errorf(leveret.InvalidArgument, "auth: %s is %v; it must be positive", d.name, *d.value)
		}
		*d.value = cmp.Or(*d.value, d.initial)
	}
	for _, n := range [...]struct {
		name    string
		value   *int
		initial int
	}{
		{"MaxHashes", &c.MaxHashes, min(runtime.GOMAXPROCS(0), 6)},
		{"MaxWaiting", &c.MaxWaiting, 100},
		{"UserAttempts", &c.UserAttempts, 10},
		{"TotalAttempts", &c.TotalAttempts, 200},
	} {
		if *n.value < 0 {
			return c, leveret.Errorf(leveret.InvalidArgument, "auth: %s is %d; it must be positive", n.name, *n.value)
		}
		*n.value = cmp.Or(*n.value, n.initial)
	}
	switch {
	case c.KeyLead >= c.RotateEvery:
		return c, leveret.Errorf(leveret.InvalidArgument,
			"auth: KeyLead is %v; it must be shorter than RotateEvery, which is %v", c.KeyLead, c.RotateEvery)
	case c.AccessTTL < time.Second:
		return c, leveret.Errorf(leveret.InvalidArgument, "auth: AccessTTL is %v; it must be at least 1s", c.AccessTTL)
	case !c.hashParams().valid():
		return c, leveret.Errorf(leveret.InvalidArgument,
			"auth: HashMemory is %d KiB, HashTime %d, HashThreads %d; the memory must be between 8 KiB for each thread and 1 GiB, the time at most 100",
			c.HashMemory, c.HashTime, c.HashThreads)
	}
	return c, nil
}

func (c Config) hashParams() hashParams { return hashParams{c.HashMemory, c.HashTime, c.HashThreads} }

func (c Config) rotation() rotation {
	return rotation{every: c.RotateEvery, lead: c.KeyLead, tokenLife: c.AccessTTL + clockMargin}
}
