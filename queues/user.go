package queues

import (
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts of the user service.
var (
	// RegisterUser registers a customer. A repeated request gets the same reply. Another email, name or password under the
	// same user_id fails with AlreadyExists and the reason "user_exists", an email that another user has with AlreadyExists
	// and the reason "email_taken".
	RegisterUser = leveret.NewRequest[RegisterUserRequest, RegisterUserReply]("user.register",
		leveret.HTTP("POST /users"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(RegisterUserRequest{
			UserID: exampleUserID, Email: exampleEmail, Name: "Ada Lovelace", Password: examplePassword,
		}))

	// LogIn begins a session. An unknown email and a wrong password fail the same, with Unauthenticated and the reason
	// "wrong_credentials"; too many attempts fail with ResourceExhausted and the reason "too_many_attempts". A repeated
	// request begins another session, which does no harm.
	LogIn = leveret.NewRequest[LogInRequest, Tokens]("user.log-in",
		leveret.HTTP("POST /log-in"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(LogInRequest{Email: exampleEmail, Password: examplePassword}))

	// ShowUser asks for a registered user. It fails with NotFound if the user is unknown.
	ShowUser = leveret.NewRequest[ShowUserRequest, ShowUserReply]("user.show",
		leveret.HTTP("GET /users/{user_id}"), leveret.Timeout(5*time.Second), leveret.Idempotent(),
		leveret.Example(ShowUserRequest{UserID: exampleUserID}))

	// UserRegistered announces that a customer has registered, and can log in.
	UserRegistered = leveret.NewEvent[UserRegisteredEvent]("user.registered", leveret.Example(UserRegisteredEvent{
		UserID: exampleUserID, RegisteredAt: exampleTime,
	}))
)

// MaxEmail is how long an email address may be, in characters.
const MaxEmail = 254

// RegisterUserRequest is a new customer.
type RegisterUserRequest struct {
	// UserID is created by the sender and identifies the user in every service.
	UserID string `json:"user_id" jsonschema:"format=uuid,description=Created by the sender; preferably a UUIDv7"`
	// Email is what the customer logs in with. Capital letters make no difference.
	Email    string         `json:"email" jsonschema:"minLength=3,maxLength=254,example=ada@example.com"`
	Name     string         `json:"name" jsonschema:"minLength=1,maxLength=64"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=8,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r RegisterUserRequest) Validate() error {
	var p problems
	p.id("user_id", r.UserID)
	checkEmail(&p, "email", r.Email)
	p.text("name", r.Name)
	checkSecret(&p, "password", r.Password, MinPassword, MaxPassword)
	return p.err()
}

// RegisterUserReply is the user as registered.
type RegisterUserReply struct {
	UserID       string    `json:"user_id" jsonschema:"format=uuid"`
	Email        string    `json:"email"`
	Name         string    `json:"name"`
	RegisteredAt time.Time `json:"registered_at"`
}

// LogInRequest is what a customer logs in with.
type LogInRequest struct {
	Email    string         `json:"email" jsonschema:"minLength=3,maxLength=254,example=ada@example.com"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=1,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r LogInRequest) Validate() error {
	var p problems
	checkEmail(&p, "email", r.Email)
	checkSecret(&p, "password", r.Password, 1, MaxPassword)
	return p.err()
}

// ShowUserRequest identifies a user.
type ShowUserRequest struct {
	UserID string `json:"user_id" jsonschema:"format=uuid"`
}

// Validate reports every field that is wrong.
func (r ShowUserRequest) Validate() error {
	var p problems
	p.id("user_id", r.UserID)
	return p.err()
}

// ShowUserReply is a registered user.
type ShowUserReply struct {
	UserID       string    `json:"user_id" jsonschema:"format=uuid"`
	Email        string    `json:"email"`
	Name         string    `json:"name"`
	RegisteredAt time.Time `json:"registered_at"`
}

// UserRegisteredEvent is a new user. It holds no personal data: ShowUser does.
type UserRegisteredEvent struct {
	UserID       string    `json:"user_id" jsonschema:"format=uuid"`
	RegisteredAt time.Time `json:"registered_at"`
}

// Validate reports every field that is wrong.
func (u UserRegisteredEvent) Validate() error {
	var p problems
	p.id("user_id", u.UserID)
	p.time("registered_at", u.RegisteredAt)
	return p.err()
}

// NormalEmail returns an address in the form in which addresses are compared: trimmed, in lower case.
func NormalEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// checkEmail checks that an address is only an address, without a name or a comment.
func checkEmail(p *problems, path, email string) {
	normal := NormalEmail(email)
	if normal == "" {
		p.add(path, "is required")
		return
	}
	if utf8.RuneCountInString(email) > MaxEmail {
		p.add(path, "must be at most %d characters long", MaxEmail)
		return
	}
	a, err := mail.ParseAddress(normal)
	if err != nil || a.Address != normal || a.Name != "" || strings.ContainsFunc(normal, invisible) {
		p.add(path, "must be an email address such as ada@example.com")
	}
}

// invisible reports whether a character cannot be seen. With one, two addresses would look the same.
func invisible(r rune) bool { return unicode.In(r, unicode.C, unicode.Z) }
