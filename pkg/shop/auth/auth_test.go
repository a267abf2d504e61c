package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/pkg/shop/token"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

const password = leveret.Secret("correct horse battery staple")

// cheap makes hashes quick, and the limits so wide that only the tests of them reach them.
var cheap = Config{HashMemory: 64, HashTime: 1, UserAttempts: 1_000_000, TotalAttempts: 1_000_000}

// bundle is a service with its own store, clock and handlers. It counts the hashes that it computes.
type bundle struct {
	*Service
	path     string
	clock    *clock
	hashes   atomic.Int64
	handlers *leveret.Handlers
}

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func setup(t *testing.T, c Config) *bundle {
	t.Helper()
	return open(t, shoptest.Source(t, "auth"), &clock{at: time.Now()}, c)
}

// open opens a store as another process would.
func open(t *testing.T, path string, at *clock, c Config) *bundle {
	t.Helper()
	s, err := OpenStore(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	b := &bundle{path: path, clock: at, handlers: leveret.NewHandlers(queues.Auth, leveret.HandlersConfig{})}
	b.Service, err = New(s, c)
	require.NoError(t, err)
	b.now = at.now
	derive := b.hasher.derive
	b.hasher.derive = func(password, salt []byte, p hashParams, size uint32) []byte {
		b.hashes.Add(1)
		return derive(password, salt, p, size)
	}
	b.Register(b.handlers)
	require.NoError(t, b.handlers.Err())
	return b
}

func (b *bundle) user(t *testing.T) string {
	t.Helper()
	id := uuid.Must(uuid.NewV7()).String()
	_, err := b.SetPassword(t.Context(), queues.SetPasswordRequest{UserID: id, Password: password})
	require.NoError(t, err)
	return id
}

func (b *bundle) logIn(t *testing.T, userID string) queues.Tokens {
	t.Helper()
	tokens, err := b.check(t.Context(), userID, password)
	require.NoError(t, err)
	require.NoError(t, tokens.Validate())
	require.Equal(t, userID, tokens.UserID)
	return tokens
}

func (b *bundle) check(ctx context.Context, userID string, p leveret.Secret) (queues.Tokens, error) {
	return b.CheckPassword(ctx, queues.CheckPasswordRequest{UserID: userID, Password: p})
}

// refresh exchanges a token in a message with the given id.
func (b *bundle) refresh(t *testing.T, token leveret.Secret, messageID string) (queues.Tokens, error) {
	t.Helper()
	a := leverettest.Call(t.Context(), b.handlers, queues.RefreshTokens, queues.RefreshTokensRequest{RefreshToken: token},
		leverettest.With(leveret.MessageID(messageID)))
	return a.Reply, a.Err
}

func (b *bundle) audit(t *testing.T) Audit {
	t.Helper()
	a, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	return a
}

func (b *bundle) verifier(t *testing.T) *token.Verifier {
	t.Helper()
	v, err := token.NewVerifier(token.VerifierConfig{Now: b.now, Keys: func(ctx context.Context) ([]queues.PublicKey, error) {
		reply, err := b.Keys(ctx, queues.ListKeysRequest{})
		return reply.Keys, errors.Join(err, reply.Validate())
	}})
	require.NoError(t, err)
	return v
}

func TestSetPassword(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	for range 2 {
		_, err := b.SetPassword(t.Context(), queues.SetPasswordRequest{UserID: id, Password: password})
		require.NoError(t, err)
		_, err = b.SetPassword(t.Context(), queues.SetPasswordRequest{UserID: id, Password: password + "!"})
		require.ErrorIs(t, err, ErrPasswordSet)
	}
	b.logIn(t, id)
	require.Equal(t, []string{id}, b.audit(t).UserIDs)
}

func TestSetPasswordAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := uuid.NewString()
	var wg sync.WaitGroup
	var set atomic.Int64
	for i := range 10 {
		wg.Go(func() {
			_, err := b.SetPassword(t.Context(), queues.SetPasswordRequest{UserID: id, Password: leveret.Secret(fmt.Sprint("password ", i%2))})
			if err == nil {
				set.Add(1)
			} else if !errors.Is(err, ErrPasswordSet) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 5, set.Load(), "those with the password that was set")
}

// TestWrongCredentials: nobody can tell by the answer or by the computation whether a user exists.
func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	dummy := string(b.hasher.dummy.key)
	for name, tc := range map[string]struct {
		userID   string
		password leveret.Secret
	}{
		"wrong password": {id, "wrong"}, "unknown user": {uuid.NewString(), password}, "no user": {"", password},
		"the dummy's key": {"", leveret.Secret(dummy)},
	} {
		before := b.hashes.Load()
		_, err := b.check(t.Context(), tc.userID, tc.password)
		require.ErrorIs(t, err, ErrWrongCredentials, name)
		require.Equal(t, ErrWrongCredentials, err, name)
		require.EqualValues(t, 1, b.hashes.Load()-before, name)
	}
	require.Equal(t, b.hasher.params, b.hasher.dummy.hashParams)
	require.Equal(t, Sessions{}, b.audit(t).Sessions)
}

// TestUpgrade: an old hash gets today's parameters when its user logs in, not when somebody else tries.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	dearer := cheap
	dearer.HashMemory, dearer.HashTime = 128, 2
	b = open(t, b.path, b.clock, dearer)
	stored := func() hashParams {
		h, found, err := findHash(t.Context(), b.store.Reader(), id)
		require.NoError(t, err)
		require.True(t, found)
		return h.hashParams
	}
	_, err := b.check(t.Context(), id, "wrong")
	require.ErrorIs(t, err, ErrWrongCredentials)
	require.Equal(t, hashParams{64, 1, 1}, stored())
	for i, hashes := range []int64{2, 1} {
		before := b.hashes.Load()
		b.logIn(t, id)
		require.Equal(t, hashParams{128, 2, 1}, stored())
		require.Equal(t, hashes, b.hashes.Load()-before, "log-in %d", i+1)
	}
}

func TestAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	c := cheap
	c.UserAttempts = 5
	b := setup(t, c)
	ada, bob := b.user(t), b.user(t)
	for _, userID := range []string{ada, uuid.NewString()} {
		for range 5 {
			_, err := b.check(t.Context(), userID, "wrong")
			require.ErrorIs(t, err, ErrWrongCredentials)
		}
		before := b.hashes.Load()
		_, err := b.check(t.Context(), userID, password)
		require.ErrorIs(t, err, ErrTooManyAttempts, "the right password too, and an unknown user likewise")
		require.ErrorIs(t, err, leveret.ResourceExhausted)
		require.Equal(t, 6*time.Second, leveret.RetryDelay(err).Round(time.Millisecond))
		require.Equal(t, before, b.hashes.Load())
	}
	_, err := b.SetPassword(t.Context(), queues.SetPasswordRequest{UserID: ada, Password: password})
	require.ErrorIs(t, err, ErrTooManyAttempts, "setting a password is no way around")
	b.logIn(t, bob)
	b.clock.pass(6 * time.Second)
	b.logIn(t, ada)
}

func TestOverload(t *testing.T) {
	t.Parallel()
	c := cheap
	c.MaxHashes, c.MaxWaiting = 1, 1
	b := setup(t, c)
	id := b.user(t)
	b.hasher.slots <- struct{}{}
	b.hasher.waiting.Add(1)
	_, err := b.check(t.Context(), id, password)
	require.ErrorIs(t, err, ErrOverloaded)
	require.ErrorIs(t, leveret.DecodeProblem(leveret.EncodeProblem(err)), ErrOverloaded)
	require.Equal(t, time.Second, leveret.RetryDelay(err))
	b.hasher.waiting.Add(-1)
	<-b.hasher.slots
	b.logIn(t, id)
}

func TestSession(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	v := b.verifier(t)
	tokens := b.logIn(t, b.user(t))
	require.Equal(t, b.now().Add(30*24*time.Hour).UnixMicro(), tokens.RefreshExpiresAt.UnixMicro())
	first, err := v.Verify(t.Context(), string(tokens.AccessToken))
	require.NoError(t, err)
	require.Equal(t, tokens.UserID, first.UserID)
	require.Equal(t, tokens.AccessExpiresAt, first.ExpiresAt)

	for i := range 5 {
		b.clock.pass(29 * 24 * time.Hour)
		old := tokens
		tokens, err = b.refresh(t, old.RefreshToken, fmt.Sprint("m", i))
		require.NoError(t, err)
		require.NotEqual(t, old.RefreshToken, tokens.RefreshToken)
		_, err = v.Verify(t.Context(), string(old.AccessToken))
		require.ErrorIs(t, err, token.ErrExpired)
		p, err := v.Verify(t.Context(), string(tokens.AccessToken))
		require.NoError(t, err)
		require.Equal(t, first.SessionID, p.SessionID)
		require.Equal(t, first.UserID, p.UserID)
		require.NoError(t, b.maintain(t.Context()))
		require.Equal(t, Sessions{Open: 1}, b.audit(t).Sessions)
	}

	b.clock.pass(30*24*time.Hour + time.Second)
	_, err = b.refresh(t, tokens.RefreshToken, "late")
	require.ErrorIs(t, err, ErrTokenExpired)
	require.NoError(t, b.maintain(t.Context()))
	require.Equal(t, Sessions{}, b.audit(t).Sessions, "expired sessions are removed")
	_, err = b.refresh(t, tokens.RefreshToken, "later")
	require.ErrorIs(t, err, ErrTokenInvalid)
}

func TestLogOut(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	mine, other := b.logIn(t, id), b.logIn(t, id)
	for range 2 {
		_, err := b.LogOut(t.Context(), queues.LogOutRequest{RefreshToken: mine.RefreshToken})
		require.NoError(t, err)
		_, err = b.refresh(t, mine.RefreshToken, "m1")
		require.ErrorIs(t, err, ErrTokenInvalid)
	}
	_, err := b.LogOut(t.Context(), queues.LogOutRequest{RefreshToken: "never issued"})
	require.NoError(t, err)
	next, err := b.refresh(t, other.RefreshToken, "m2")
	require.NoError(t, err, "other sessions go on")
	_, err = b.LogOut(t.Context(), queues.LogOutRequest{RefreshToken: other.RefreshToken})
	require.NoError(t, err, "with a token that is used up")
	_, err = b.refresh(t, next.RefreshToken, "m3")
	require.ErrorIs(t, err, ErrTokenInvalid)
	require.Equal(t, Sessions{LoggedOut: 2}, b.audit(t).Sessions)
}

// TestReuse: whichever of thief and owner uses a token second ends the session for both.
func TestReuse(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	tokens := b.logIn(t, b.user(t))
	stolen := tokens.RefreshToken
	thief, err := b.refresh(t, stolen, "thief")
	require.NoError(t, err)
	_, err = b.refresh(t, stolen, "owner")
	require.ErrorIs(t, err, ErrTokenInvalid)
	require.Equal(t, Sessions{Reused: 1}, b.audit(t).Sessions)
	for _, token := range []leveret.Secret{thief.RefreshToken, stolen} {
		_, err = b.refresh(t, token, "thief")
		require.ErrorIs(t, err, ErrTokenInvalid)
	}
}

// TestRepeatedRefresh: the answer was lost, and the caller asks again under the same message id, also of another process.
func TestRepeatedRefresh(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	other := open(t, b.path, b.clock, cheap)
	tokens := b.logIn(t, b.user(t))
	b.clock.pass(time.Hour)
	lost, err := b.refresh(t, tokens.RefreshToken, "m1")
	require.NoError(t, err)
	b.clock.pass(30 * time.Second)
	again, err := other.refresh(t, tokens.RefreshToken, "m1")
	require.NoError(t, err)
	require.Equal(t, lost.RefreshToken, again.RefreshToken)
	require.Equal(t, lost.RefreshExpiresAt, again.RefreshExpiresAt)
	_, err = b.verifier(t).Verify(t.Context(), string(again.AccessToken))
	require.NoError(t, err)

	next, err := b.refresh(t, again.RefreshToken, "m2")
	require.NoError(t, err)
	_, err = b.refresh(t, tokens.RefreshToken, "m1")
	require.ErrorIs(t, err, ErrTokenInvalid, "it has arrived by now")
	_, err = b.refresh(t, next.RefreshToken, "m3")
	require.NoError(t, err, "and the session goes on")
}

func TestRefreshAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	other := open(t, b.path, b.clock, cheap)
	tokens := b.logIn(t, b.user(t))
	got := make([]queues.Tokens, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = []*bundle{b, other}[i%2].refresh(t, tokens.RefreshToken, "m1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, g := range got {
		require.Equal(t, got[0].RefreshToken, g.RefreshToken)
	}
}

// TestSessionsAtRandom compares a session with a model of it: at any moment one token is good, and any other one that
// was ever issued ends the session.
func TestSessionsAtRandom(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 3))
		issued := []leveret.Secret{b.logIn(t, id).RefreshToken}
		open := true
		for n := range 30 {
			message := fmt.Sprintf("%d-%d", seed, n)
			last := len(issued) - 1
			i := last
			if random.IntN(10) == 0 {
				i = random.IntN(len(issued))
			}
			tokens, err := b.refresh(t, issued[i], message)
			switch {
			case open && i == last:
				require.NoError(t, err)
				require.NotContains(t, issued, tokens.RefreshToken)
				issued = append(issued, tokens.RefreshToken)
			default:
				open = false
				require.ErrorIs(t, err, ErrTokenInvalid)
			}
		}
	}
}

// TestKeysRotate runs for days with two processes on one store. Tokens stay good throughout, for a verifier that
// fetches the keys every few minutes.
func TestKeysRotate(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	other := open(t, b.path, b.clock, cheap)
	id := b.user(t)
	fetched, err := b.Keys(t.Context(), queues.ListKeysRequest{})
	require.NoError(t, err)
	v, err := token.NewVerifier(token.VerifierConfig{Now: b.now, Keys: func(context.Context) ([]queues.PublicKey, error) {
		return fetched.Keys, nil
	}})
	require.NoError(t, err)
	signers := map[string]bool{}
	for step := range 4 * 24 * 4 { // four days, a quarter of an hour each
		var wg sync.WaitGroup
		for _, p := range []*bundle{b, other} { // both at once
			wg.Go(func() {
				if err := p.maintain(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		tokens := []*bundle{b, other}[step%2].logIn(t, id)
		_, err := v.Verify(t.Context(), string(tokens.AccessToken))
		require.NoError(t, err, "step %d", step)
		fetched, err = b.Keys(t.Context(), queues.ListKeysRequest{})
		require.NoError(t, err)
		require.LessOrEqual(t, len(fetched.Keys), 2)
		require.Equal(t, len(fetched.Keys), b.audit(t).Keys, "expired keys are removed")
		for _, k := range fetched.Keys {
			signers[k.KeyID] = true
		}
		b.clock.pass(15 * time.Minute)
	}
	require.GreaterOrEqual(t, len(signers), 4)
	require.LessOrEqual(t, len(signers), 6)
}

func TestTwoProcessesMakeOneKey(t *testing.T) {
	t.Parallel()
	first := setup(t, cheap)
	all := []*bundle{first}
	for range 3 {
		all = append(all, open(t, first.path, first.clock, cheap))
	}
	for _, want := range []int{1, 2} {
		lists := make([]queues.ListKeysReply, len(all))
		var wg sync.WaitGroup
		for i, b := range all {
			wg.Go(func() {
				var err error
				if lists[i], err = b.Keys(t.Context(), queues.ListKeysRequest{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, l := range lists {
			require.Len(t, l.Keys, want)
			require.Equal(t, lists[0].Keys, l.Keys)
		}
		first.clock.pass(23*time.Hour + time.Minute)
	}
}

// TestNothingSecretIsStored looks for the password and the tokens in the files.
func TestNothingSecretIsStored(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "auth.db"), &clock{at: time.Now()}, cheap)
	tokens := b.logIn(t, b.user(t))
	next, err := b.refresh(t, tokens.RefreshToken, "m1")
	require.NoError(t, err)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(b.path + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), suffix)
		content, err := os.ReadFile(b.path + suffix)
		require.NoError(t, err)
		for _, secret := range []leveret.Secret{password, tokens.AccessToken, tokens.RefreshToken, next.AccessToken, next.RefreshToken} {
			require.NotContains(t, string(content), string(secret), suffix)
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	require.Eventually(t, func() bool { return b.audit(t).Keys == 1 }, time.Minute, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

func TestRemovedInParts(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	for range 5 {
		b.logIn(t, id)
	}
	b.clock.pass(31 * 24 * time.Hour)
	for _, want := range []int64{2, 2, 1, 0} {
		n, err := b.store.removeExpired(t.Context(), b.now(), 2)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
}

// TestDocumentedDefaults compares the table of settings in docs/users.md with the code.
func TestDocumentedDefaults(t *testing.T) {
	t.Parallel()
	c, err := Config{MaxHashes: 1}.withDefaults()
	require.NoError(t, err)
	fields := reflect.ValueOf(c)
	for setting, row := range shoptest.Table(t, filepath.Join("..", "..", "..", "docs", "users.md"), "setting") {
		name := strings.Trim(setting, "`")
		require.True(t, fields.FieldByName(name).IsValid(), name)
		if value := fields.FieldByName(name).Interface(); name != "MaxHashes" {
			require.Equal(t, fmt.Sprint(value), row["default"], name)
		}
	}
}

func TestWrongConfig(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Config{
		"AccessTTL is -1s":                {AccessTTL: -time.Second},
		"AccessTTL is 1ms":                {AccessTTL: time.Millisecond},
		"MaxHashes is -1":                 {MaxHashes: -1},
		"KeyLead is 1h0m0s; it must be":   {RotateEvery: time.Hour},
		"HashMemory is 4 KiB":             {HashMemory: 4},
		"HashTime 1000":                   {HashTime: 1000},
		"HashMemory is 2097152 KiB, Hash": {HashMemory: 2 << 20},
	} {
		_, err := New(nil, c)
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, leveret.InvalidArgument)
	}
}

func TestDamagedStore(t *testing.T) {
	t.Parallel()
	b := setup(t, cheap)
	id := b.user(t)
	b.logIn(t, id)
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE signing_keys SET seed = $1", []byte{0})
		return err
	}))
	_, err := b.check(t.Context(), id, password)
	require.ErrorContains(t, err, "has 1 bytes")
	require.NoError(t, b.store.InTx(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), "UPDATE credentials SET hash = 'plain'")
		return err
	}))
	_, err = b.check(t.Context(), id, password)
	require.ErrorContains(t, err, "not an argon2id hash")
}
