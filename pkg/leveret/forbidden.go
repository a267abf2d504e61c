package leveret

import (
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

var errIsReply = Errorf(InvalidArgument, "not handled: it is a reply, of which %s or the content type speaks", wire.Instance)

// forbidden returns the outcome of a message that a worker must not handle, and none for all others: of a request that
// would have it write where its caller may not, of what came about that way, and of what belongs to no contract.
func (e *endpoint) forbidden(d *rabbit.Incoming, m *Message) Outcome {
	request := e.spec.Kind == KindRequest
	switch {
	case isReply(&d.Delivery):
		o := Outcome{Verdict: e.spec.givenUp(e.use.name), Err: errIsReply}
		if request {
			o.Verdict = VerdictForbidden
		}
		return o
	case request && !e.worker.answers(m.ReplyTo):
		return Outcome{Verdict: VerdictForbidden, Err: Errorf(PermissionDenied,
			"neither handled nor answered: the reply_to %.100q is no address that this service answers to; broker.reply_to allows more", m.ReplyTo)}
	case e.nobodys():
		return Outcome{Verdict: e.spec.givenUp(e.use.name), Err: Errorf(Unimplemented,
			"none of the contracts of the queue %s claims a message of the type %.80q, with the routing key %.80q", e.queue, d.Type, m.RoutingKey)}
	default:
		return Outcome{}
	}
}

// isReply reports whether a message is the reply to a request: a worker of ours made it, or it is an error.
func isReply(d *rabbit.Delivery) bool {
	_, ours := d.Headers[wire.Instance]
	return ours || isProblem(d.ContentType)
}

// isProblem reports whether a body of this type is an error.
func isProblem(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(kind), contentTypeProblem)
}

// answers reports whether a request with this reply_to may be handled.
func (w *Worker) answers(address string) bool {
	return address == "" || slices.ContainsFunc(w.config.ReplyTo, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return address == pattern || open && strings.HasPrefix(address, prefix)
	})
}
