package rabbit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// parseLogins returns the ways to log in at an address, by its auth_mechanism parameters, the preferred first. The
// default is PLAIN.
func parseLogins(u amqp.URI) ([]amqp.Authentication, error) {
	if len(u.AuthMechanism) == 0 {
		return []amqp.Authentication{u.PlainAuth()}, nil
	}
	known := map[string]amqp.Authentication{"PLAIN": u.PlainAuth(), "AMQPLAIN": u.AMQPlainAuth(), "EXTERNAL": &amqp.ExternalAuth{}}
	var all []amqp.Authentication
	for _, name := range u.AuthMechanism {
		login, ok := known[strings.ToUpper(name)]
		if !ok {
			return nil, errors.New("an auth_mechanism is unknown; expected plain, amqplain or external")
		}
		all = append(all, login)
	}
	return all, nil
}

// candidLogin makes the broker say that it refuses a login. The driver does not announce that it would understand; the
// broker then hangs up, after three seconds, and a wrong password looks like a lost connection.
type candidLogin struct {
	amqp.Authentication
	properties Table
}

func candid(logins []amqp.Authentication, properties Table) []amqp.Authentication {
	var all []amqp.Authentication
	for _, l := range logins {
		all = append(all, candidLogin{l, properties})
	}
	return all
}

// Response is called when the driver has written its capabilities into the properties, and has not sent them yet.
func (l candidLogin) Response() string {
	if capabilities, ok := l.properties["capabilities"].(Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return l.Authentication.Response()
}

// explain says in plain words what the driver's errors at login mean. Where the broker has not said anything, the
// driver guesses; then it is what reading has ended with that counts, if it has.
func explain(err, reading error) error {
	e, _ := errors.AsType[*amqp.Error](err)
	switch {
	case e == nil:
		return err
	case e == amqp.ErrSASL:
		return fmt.Errorf("the broker does not offer this way to log in: %w", err)
	case e.Server && e.Code == amqp.AccessRefused:
		return fmt.Errorf("the broker refused the login (user name or password): %w", err)
	case e.Server && e.Code == amqp.NotAllowed && !atLimit(e):
		return fmt.Errorf("no access to this virtual host, or it does not exist: %w", err)
	case e.Server:
		return err
	case reading != nil:
		return fmt.Errorf("the connection was lost during the login: %w", reading)
	default:
		return errors.New("the connection was lost during the login")
	}
}

// atLimit reports whether a virtual host or a user has as many connections as it may have now. Only the text says so:
// "access to vhost '/' refused for user 'x': connection limit (5) is reached", "user connection limit (5) is reached".
func atLimit(e *amqp.Error) bool { return strings.Contains(e.Reason, "connection limit") }

// fatal reports whether a connection was refused for a reason that will not pass by itself: a wrong password, a virtual
// host that does not exist, a certificate that is not trusted.
func fatal(err error) bool {
	if e, ok := errors.AsType[*amqp.Error](err); ok {
		return e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed && !atLimit(e)
	}
	return errors.As(err, new(*tls.CertificateVerificationError)) ||
		errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError))
}
