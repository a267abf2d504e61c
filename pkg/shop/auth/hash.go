package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// ErrOverloaded says that too many hash computations wait already. Nothing was done.
var ErrOverloaded = leveret.NewError(leveret.ResourceExhausted, "overloaded", "too many passwords are being checked; try again later")

// overloadDelay is how long a caller should wait after ErrOverloaded.
const overloadDelay = time.Second

const (
	saltSize = 16
	hashSize = 32
)

// hashParams are the parameters of argon2id. The memory is in KiB.
type hashParams struct {
	memory, time uint32
	threads      uint8
}

func (p hashParams) valid() bool {
	return p.threads > 0 && p.time > 0 && p.time <= 100 && p.memory >= 8*uint32(p.threads) && p.memory <= 1<<20
}

// passwordHash is a hash with everything that is needed to compute it again.
type passwordHash struct {
	hashParams
	salt, key []byte
}

// String returns the hash as a PHC string: $argon2id$v=19$m=19456,t=2,p=1$salt$key.
func (h passwordHash) String() string {
	e := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, e(h.salt), e(h.key))
}

// parseHash reads what String writes. Its error does not repeat any part of the text.
func parseHash(text string) (h passwordHash, err error) {
	var version int
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return h, errors.New("the stored hash is not an argon2id hash")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return h, errors.New("the stored hash has an unknown version")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &h.memory, &h.time, &h.threads); err != nil || !h.valid() {
		return h, errors.New("the stored hash has parameters that are not valid")
	}
	d := base64.RawStdEncoding.Strict().DecodeString
	var saltErr, keyErr error
	h.salt, saltErr = d(parts[4])
	h.key, keyErr = d(parts[5])
	if saltErr != nil || keyErr != nil || len(h.salt) < 8 || len(h.key) < 16 || len(h.key) > 64 {
		return h, errors.New("the stored hash has no valid salt or key")
	}
	if h.String() != text {
		return h, errors.New("the stored hash is not in its usual form")
	}
	return h, nil
}

// A hasher computes password hashes, a limited number at a time. It is safe for concurrent use.
type hasher struct {
	params  hashParams
	slots   chan struct{} // one for each computation that runs
	waiting atomic.Int64
	most    int64        // how many may wait
	dummy   passwordHash // stands in for that of an unknown user
	// derive computes a hash: argon2id. Tests count with it.
	derive func(password, salt []byte, p hashParams, size uint32) []byte
}

func newHasher(c Config) *hasher {
	h := &hasher{params: c.hashParams(), slots: make(chan struct{}, c.MaxHashes), most: int64(c.MaxWaiting), derive: argon2id}
	h.dummy = passwordHash{h.params, random(saltSize), random(hashSize)}
	return h
}

func argon2id(password, salt []byte, p hashParams, size uint32) []byte {
	return argon2.IDKey(password, salt, p.time, p.memory, p.threads, size)
}

// random returns n random bytes. crypto/rand does not fail.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// hash returns the hash of a new password.
func (h *hasher) hash(ctx context.Context, password leveret.Secret) (passwordHash, error) {
	made := passwordHash{hashParams: h.params, salt: random(saltSize)}
	var err error
	made.key, err = h.compute(ctx, password, made, hashSize)
	return made, err
}

// check reports whether a password is the one that was hashed.
func (h *hasher) check(ctx context.Context, password leveret.Secret, stored passwordHash) (bool, error) {
	key, err := h.compute(ctx, password, stored, uint32(len(stored.key)))
	return err == nil && subtle.ConstantTimeCompare(key, stored.key) == 1, err
}

// compute waits for its turn, until ctx ends. It fails with ErrOverloaded if too many others wait already.
func (h *hasher) compute(ctx context.Context, password leveret.Secret, with passwordHash, size uint32) ([]byte, error) {
	if err := h.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-h.slots }()
	return h.derive([]byte(password), with.salt, with.hashParams, size), nil
}

func (h *hasher) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return gaveUp(ctx)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.most {
		return leveret.RetryAfter(overloadDelay, ErrOverloaded)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return gaveUp(ctx)
	}
}

// gaveUp returns the error of a context that ended before the hash was computed.
func gaveUp(ctx context.Context) error {
	return leveret.Errorf(leveret.CodeOf(ctx.Err()), "waiting to compute a hash: %w", ctx.Err())
}
