package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
)

// What RabbitMQ says of a right that a user lacks, with the right, which it leaves out before 4.0, put in.
var (
	lackedRight = regexp.MustCompile(`(configure|write|read|configure or read) access to (exchange|queue|topic) '(.*?)' in (exchange '(.*?)' in )?vhost '(.*?)' refused for user '(.*?)'`)
	lackedVHost = regexp.MustCompile(`access to vhost '(.*?)' refused for user '(.*?)'`)
	noVHost     = regexp.MustCompile(`vhost '?([^' ]+)'? not found`)
)

// grant says what to do about access that the broker refused: it names the right, the virtual host or the login that is
// missing.
func (a *App) grant(err error) string {
	text, origin := err.Error(), a.Name+" config show --origin"
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	untrusted = untrusted || errors.As(err, new(x509.UnknownAuthorityError)) || errors.As(err, new(x509.HostnameError))
	if all := lackedRight.FindAllStringSubmatch(text, -1); len(all) > 0 {
		m := all[len(all)-1] // of several ways, the narrowest was tried last
		right, kind, name, exchange, vhost, user := m[1], m[2], m[3], m[5], m[6], m[7]
		what := fmt.Sprintf("the %s %s", kind, name)
		if kind == "topic" {
			return fmt.Sprintf("grant the user %s %s permission for the topic %s on the exchange %s in the virtual host %s "+
				"(rabbitmqctl set_topic_permissions), or log in as another user", user, right, name, exchange, vhost)
		}
		if name == "amq.default" {
			what = "the default exchange (amq.default)"
		}
		return fmt.Sprintf("grant the user %s %s permission for %s in the virtual host %s (rabbitmqctl set_permissions), or log in as another user",
			user, right, what, vhost)
	}
	if m := lackedVHost.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("grant the user %s access to the virtual host %s (rabbitmqctl set_permissions), or correct the address: %s", m[2], m[1], origin)
	}
	switch m := noVHost.FindStringSubmatch(text); {
	case m != nil:
		return fmt.Sprintf("create the virtual host %s (rabbitmqctl add_vhost), or correct the address: %s", m[1], origin)
	case untrusted:
		return "let broker.tls.ca_file (LEVERET_BROKER_TLS_CA_FILE) name the authority of the broker's certificate, and the address a host that it is for: " + origin
	case strings.Contains(text, "refused the login") && a.passwordFile() != "":
		return fmt.Sprintf("correct broker.username, or the password in the file %s: %s", a.passwordFile(), origin)
	case strings.Contains(text, "RESOURCE_LOCKED"):
		return "the queue belongs to another connection, and goes with it"
	default:
		return origin + "; a broker that was started for development has a password of its own, which LEVERET_CONFIG or LEVERET_BROKER_PASSWORD provides"
	}
}

// passwordFile is the file that the broker's password is from; empty if it is from elsewhere.
func (a *App) passwordFile() string {
	file, _ := a.loaded.Value("broker.password_file")
	if password, ok := a.loaded.Value("broker.password"); !ok || password.Origin.Where != file.String() {
		return ""
	}
	return file.String()
}

// reading adds to the error of a command that reads queues what to do about it. RabbitMQ 4.3 refuses the look at a
// queue to a user who has no right to it, and names the right to configure it; to read is enough, and needed next.
func (a *App) reading(err error) error {
	err = a.explain(err)
	if e, ok := errors.AsType[*Error](err); ok {
		e.Next = strings.ReplaceAll(e.Next, " configure permission for the queue ", " read permission for the queue ")
	}
	return err
}

// undeclared is what this user may not declare, or what exists with other arguments.
type undeclared struct {
	mu    sync.Mutex
	n     int
	first string // with the reason
}

// none reports whether there was nothing.
func (u *undeclared) none() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.n == 0
}

// warn sums it up in one sentence.
func (u *undeclared) warn(a *App) {
	u.mu.Lock()
	defer u.mu.Unlock()
	what := "1 exchange, queue or binding"
	switch {
	case u.n == 0:
		return
	case u.n > 1:
		what = fmt.Sprintf("%d exchanges, queues and bindings", u.n)
	}
	a.Warn("%s could not be declared, and what exists is used: first the %s; broker.declare: false (LEVERET_BROKER_DECLARE=false) does not try", what, u.first)
}

// missing says what to do about an exchange or a queue that is missing: the given, unless this user may not declare it,
// or the broker has no room for it.
func (a *App) missing(next string) string {
	u := &a.undeclared
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.n == 0:
		return next
	case strings.Contains(u.first, " limit "): // of a virtual host, a user or a node
		return "delete queues that nobody needs, or raise the limit (rabbitmqctl set_vhost_limits)"
	}
	return "start the service once, as a user who may declare what it needs, or grant this user configure permission for it"
}

// declaring is the log of a connection that keeps what cannot be declared for one sentence at the end.
type declaring struct {
	slog.Handler
	app *App
}

func (d declaring) Handle(ctx context.Context, r slog.Record) error {
	if !strings.HasPrefix(r.Message, "cannot declare; using ") {
		return d.Handler.Handle(ctx, r)
	}
	var what, reason string
	r.Attrs(func(at slog.Attr) bool {
		switch at.Key {
		case "what":
			what = at.Value.String()
		case "reason":
			reason = at.Value.String()
		}
		return true
	})
	u := &d.app.undeclared
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n++; u.n == 1 {
		u.first = fmt.Sprintf("%s (%s)", what, reason)
	}
	if d.Enabled(ctx, slog.LevelDebug) {
		return d.Handler.Handle(ctx, r)
	}
	return nil
}

func (d declaring) WithAttrs(attrs []slog.Attr) slog.Handler {
	return declaring{d.Handler.WithAttrs(attrs), d.app}
}

func (d declaring) WithGroup(name string) slog.Handler {
	return declaring{d.Handler.WithGroup(name), d.app}
}
