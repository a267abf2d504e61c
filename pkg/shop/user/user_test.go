package user

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/shop/auth"
	"github.com/leveretmq/leveret/pkg/shop/internal/shoptest"
	"github.com/leveretmq/leveret/queues"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

const password = leveret.Secret("correct horse battery staple")

// bundle is the user service and the auth service, each with its own store.
type bundle struct {
	*Service
	path, authPath string
	sent           *leverettest.Recorder
	auth           *leverettest.StubCaller
	handlers       *leveret.Handlers
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{
		path: shoptest.Source(t, "user"), authPath: shoptest.Source(t, "auth"),
		sent: &leverettest.Recorder{Service: queues.User}, auth: &leverettest.StubCaller{Service: queues.User},
	}
	b.open(t)
	t.Cleanup(func() { require.NoError(t, b.store.Close()) })

	s, err := auth.OpenStore(t.Context(), b.authPath)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	service, err := auth.New(s, auth.Config{HashMemory: 64, HashTime: 1, UserAttempts: 5, TotalAttempts: 1_000_000})
	require.NoError(t, err)
	h := leveret.NewHandlers(queues.Auth, leveret.HandlersConfig{})
	service.Register(h)
	b.auth.Serve(h)
	return b
}

func (b *bundle) open(t *testing.T) {
	t.Helper()
	s, err := OpenStore(t.Context(), b.path)
	require.NoError(t, err)
	b.Service = New(s, b.sent, b, Config{})
	b.handlers = leveret.NewHandlers(queues.User, leveret.HandlersConfig{})
	b.Register(b.handlers)
	require.NoError(t, b.handlers.Err())
}

// Call implements leveret.Caller.
func (b *bundle) Call(ctx context.Context, m *leveret.Message) error { return b.auth.Call(ctx, m) }

func (b *bundle) restart(t *testing.T) {
	t.Helper()
	require.NoError(t, b.store.Close())
	b.open(t)
}

// requireBooks checks that every active user has a password, and that the given users are all there are.
func (b *bundle) requireBooks(t *testing.T, active ...string) {
	t.Helper()
	users, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	credentials, err := auth.ReadAudit(t.Context(), b.authPath)
	require.NoError(t, err)
	require.Equal(t, len(active), users.Count(StateActive))
	var ids []string
	for _, u := range users.Users {
		if u.State == StateActive {
			ids = append(ids, u.UserID)
		}
	}
	require.ElementsMatch(t, active, ids)
	require.Subset(t, credentials.UserIDs, ids)
}

func request(email string) queues.RegisterUserRequest {
	return queues.RegisterUserRequest{UserID: uuid.Must(uuid.NewV7()).String(), Email: email, Name: "Ada", Password: password}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request(" Ada@Example.com")
	reply, err := b.RegisterUser(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, queues.RegisterUserReply{
		UserID: r.UserID, Email: "ada@example.com", Name: "Ada", RegisteredAt: reply.RegisteredAt,
	}, reply)
	require.WithinDuration(t, time.Now(), reply.RegisteredAt, time.Minute)

	b.restart(t)
	same := r
	same.Email = "ada@example.COM"
	again, err := b.RegisterUser(t.Context(), same)
	require.NoError(t, err)
	require.Equal(t, reply, again)
	for what, change := range map[string]func(*queues.RegisterUserRequest){
		"email":    func(r *queues.RegisterUserRequest) { r.Email = "bob@example.com" },
		"name":     func(r *queues.RegisterUserRequest) { r.Name = "Bob" },
		"password": func(r *queues.RegisterUserRequest) { r.Password = "another password" },
	} {
		other := r
		change(&other)
		_, err := b.RegisterUser(t.Context(), other)
		require.ErrorIs(t, err, ErrUserExists, what)
	}
	_, err = b.RegisterUser(t.Context(), request("ADA@example.com"))
	require.ErrorIs(t, err, ErrEmailTaken)
	b.requireBooks(t, r.UserID)

	shown, err := b.Show(t.Context(), queues.ShowUserRequest{UserID: r.UserID})
	require.NoError(t, err)
	require.Equal(t, queues.ShowUserReply(reply), shown)
	_, err = b.Show(t.Context(), queues.ShowUserRequest{UserID: uuid.NewString()})
	require.ErrorIs(t, err, ErrUnknown)
}

func TestRegisterAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("ada@example.com")
	replies := make([]queues.RegisterUserReply, 4)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() {
			var err error
			if replies[i], err = b.RegisterUser(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			other, err := b.RegisterUser(t.Context(), request("bob@example.com"))
			if err == nil {
				_, err = b.RegisterUser(t.Context(), queues.RegisterUserRequest{
					UserID: other.UserID, Email: other.Email, Name: other.Name, Password: password,
				})
			} else if leveret.CodeOf(err) == leveret.AlreadyExists {
				err = nil
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, reply := range replies {
		require.Equal(t, replies[0], reply)
	}
	a, err := ReadAudit(t.Context(), b.path)
	require.NoError(t, err)
	require.Len(t, a.Users, 2)
}

func TestLogIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("ada@example.com")
	_, err := b.RegisterUser(t.Context(), r)
	require.NoError(t, err)
	tokens, err := b.LogIn(t.Context(), queues.LogInRequest{Email: " ADA@example.com ", Password: password})
	require.NoError(t, err)
	require.Equal(t, r.UserID, tokens.UserID)

	// Nobody can tell a wrong password from an unknown email: not by the error, not by when attempts are refused.
	said := map[string][]string{}
	for _, email := range []string{"bob@example.com", "ada@example.com"} {
		for range 6 {
			_, err := b.LogIn(t.Context(), queues.LogInRequest{Email: email, Password: "wrong"})
			require.Error(t, err)
			said[email] = append(said[email], err.Error())
		}
	}
	require.Contains(t, said["bob@example.com"][0], "the user is unknown, or the password is wrong")
	require.Equal(t, said["bob@example.com"][:4], said["ada@example.com"][:4])
	require.Contains(t, said["bob@example.com"][5], "too many attempts")
	require.Equal(t, said["bob@example.com"][5], said["ada@example.com"][5])
	for _, q := range leverettest.Sent(b.auth, queues.CheckPassword) {
		require.NotEmpty(t, q.UserID)
	}
}

func TestTokensForAnotherUser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	leverettest.Answer(b.auth, queues.CheckPassword, func(context.Context, queues.CheckPasswordRequest) (queues.Tokens, error) {
		return queues.Tokens{
			UserID: uuid.NewString(), AccessToken: "a", RefreshToken: "b", AccessExpiresAt: time.Now(), RefreshExpiresAt: time.Now(),
		}, nil
	})
	_, err := b.LogIn(t.Context(), queues.LogInRequest{Email: "ada@example.com", Password: password})
	require.ErrorIs(t, err, leveret.Internal)
}

// TestInterrupted interrupts a registration before and after each of its steps. The repeated request finishes it, in a
// new process. Until then the user cannot log in and is not shown.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("password set %t, crash %t", lost, crash), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				r := request("ada@example.com")
				cut := &interrupted{Caller: b.auth, lost: lost}
				b.Service.auth = cut
				first := leverettest.Call(t.Context(), b.handlers, queues.RegisterUser, r)
				require.Error(t, first.Err)
				require.Equal(t, 1, cut.calls)
				if crash {
					b.restart(t)
				}
				_, err := b.LogIn(t.Context(), queues.LogInRequest{Email: r.Email, Password: r.Password})
				require.ErrorContains(t, err, "the user is unknown")
				_, err = b.Show(t.Context(), queues.ShowUserRequest{UserID: r.UserID})
				require.ErrorIs(t, err, ErrUnknown)
				require.Empty(t, b.sent.Messages())
				b.requireBooks(t)

				b.auth.Reset()
				again := first.Again(t.Context())
				if crash {
					again = leverettest.Call(t.Context(), b.handlers, queues.RegisterUser, r, leverettest.Redelivered(),
						leverettest.With(leveret.MessageID(first.Message.ID)))
				}
				require.NoError(t, again.Err)
				require.Equal(t, r.UserID, again.Reply.UserID)
				b.requireBooks(t, r.UserID)
				require.Equal(t, []string{"user.registered"}, shoptest.Names(b.sent.Messages()))
				_, err = b.LogIn(t.Context(), queues.LogInRequest{Email: r.Email, Password: r.Password})
				require.NoError(t, err)
			})
		}
	}
}

// interrupted is a caller whose first call fails, before or after it got through.
type interrupted struct {
	leveret.Caller
	lost  bool
	calls int
}

func (c *interrupted) Call(ctx context.Context, m *leveret.Message) error {
	if c.calls++; c.calls > 1 {
		return c.Caller.Call(ctx, m)
	}
	if !c.lost {
		return leveret.ErrNotConnected
	}
	if err := c.Caller.Call(ctx, m); err != nil {
		return err
	}
	return leveret.ErrOutcomeUnknown
}

// TestPendingForLong: an email is not lost to a registration that nobody finishes.
func TestPendingForLong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := request("ada@example.com"), request("ada@example.com")
	b.Service.auth = &interrupted{Caller: b.auth, lost: true}
	_, err := b.RegisterUser(t.Context(), first)
	require.ErrorIs(t, err, leveret.ErrOutcomeUnknown)
	_, err = b.RegisterUser(t.Context(), second)
	require.ErrorIs(t, err, ErrEmailTaken)

	now := time.Now().Add(time.Hour)
	b.now = func() time.Time { return now }
	_, err = b.RegisterUser(t.Context(), second)
	require.NoError(t, err)
	_, err = b.RegisterUser(t.Context(), first)
	require.ErrorIs(t, err, ErrEmailTaken)
	_, err = b.store.activate(t.Context(), first.UserID)
	require.ErrorIs(t, err, ErrEmailTaken, "if the first one was on its way all the time")
	b.requireBooks(t, second.UserID)
	now = now.Add(1000 * time.Hour)
	_, err = b.RegisterUser(t.Context(), first)
	require.ErrorIs(t, err, ErrEmailTaken, "an active user is never removed")
}

// TestAnnounced: the event is published under the same id each time, and by Run if the registration could not.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := request("ada@example.com")
	b.sent.FailBefore(1, leveret.ErrNotConnected)
	reply, err := b.RegisterUser(t.Context(), r)
	require.NoError(t, err, "a registration does not depend on the broker")
	require.Empty(t, b.sent.Messages())
	announced := func() bool {
		a, err := ReadAudit(t.Context(), b.path)
		require.NoError(t, err)
		return a.Users[0].Announced
	}
	require.False(t, announced())

	b.restart(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	require.Eventually(t, announced, time.Minute, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	_, err = b.RegisterUser(t.Context(), r)
	require.NoError(t, err)
	require.NoError(t, b.announceRest(t.Context()), "nothing is left")

	sent := b.sent.Messages()
	require.Len(t, sent, 2)
	require.Equal(t, sent[0].ID, sent[1].ID)
	require.Equal(t, sent[0].Body, sent[1].Body)
	want := queues.UserRegisteredEvent{UserID: r.UserID, RegisteredAt: reply.RegisteredAt}
	require.Equal(t, []queues.UserRegisteredEvent{want, want}, leverettest.Sent(b.sent, queues.UserRegistered))
}

// TestAnnouncementOutcomeUnknown: the event got through, but nobody knows, so it is published again.
func TestAnnouncementOutcomeUnknown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sent.FailAfter(1, leveret.ErrUnconfirmed)
	_, err := b.RegisterUser(t.Context(), request("ada@example.com"))
	require.NoError(t, err)
	require.NoError(t, b.announceRest(t.Context()))
	sent := b.sent.Messages()
	require.Len(t, sent, 2)
	require.Equal(t, sent[0].ID, sent[1].ID)
}

func TestDerivedIDs(t *testing.T) {
	t.Parallel()
	for _, id := range []string{nobody("ada@example.com"), eventID("ada@example.com")} {
		u, err := uuid.Parse(id)
		require.NoError(t, err)
		require.EqualValues(t, 8, u.Version())
		require.Equal(t, uuid.RFC4122, u.Variant())
		require.NoError(t, queues.CheckPasswordRequest{UserID: id, Password: "x"}.Validate())
	}
	require.NotEqual(t, nobody("ada@example.com"), eventID("ada@example.com"))
	require.NotEqual(t, nobody("ada@example.com"), nobody("bob@example.com"))
}
