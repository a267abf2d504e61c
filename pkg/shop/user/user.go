package user

import (
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// What a request can be refused with. errors.Is finds them on the caller's side too.
var (
	// ErrUnknown says that no such user is registered.
	ErrUnknown = leveret.NewError(leveret.NotFound, "user_unknown", "no such user")
	// ErrUserExists says that the user_id belongs to a user with another email, name or password.
	ErrUserExists = leveret.NewError(leveret.AlreadyExists, "user_exists", "another user has this user_id")
	// ErrEmailTaken says that another user has the email.
	ErrEmailTaken = leveret.NewError(leveret.AlreadyExists, "email_taken", "another user has this email address")
)

// A State is how far a registration has come.
type State string

// The states of a user.
const (
	StatePending State = "pending" // the password may not be set yet
	StateActive  State = "active"
)

// A User is a stored user.
type User struct {
	ID string
	// Email is in the form of queues.NormalEmail.
	Email, Name string
	State       State
	// RegisteredAt is when the user was stored first.
	RegisteredAt time.Time
}

func (u *User) registered() queues.UserRegisteredEvent {
	return queues.UserRegisteredEvent{UserID: u.ID, RegisteredAt: u.RegisteredAt}
}

// eventID returns the id of the message that announces a user. It is always the same, so that receivers recognise a
// repeated announcement.
func eventID(userID string) string { return derivedID("user.registered", userID) }

// nobody returns the id that is used for an email that no user has. It is always the same for an email, so that the
// auth service limits the attempts on it as it does those on a user: the limit must not say which emails are known.
func nobody(email string) string { return derivedID("nobody", email) }

// derivedID returns a UUIDv8 (RFC 9562) that follows from its parts.
func derivedID(kind, name string) string {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
