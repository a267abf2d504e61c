package leveret

import (
	"context"
	"maps"
	"sync"
)

// handling is what a handler's context knows of the message that is being handled.
type handling struct {
	message *Message
	scope   string // what handles it: the service and its subscription

	mu   sync.Mutex
	sent map[string]int // by contract
}

// nextID returns the id of the next message of a contract that this handling sends: the same again when the handler
// runs again and sends in the same order. Outside a handler, and for a message that came without an id, it is a new
// one. It is safe for concurrent use, but a handler that sends one contract from several goroutines at once gives up
// the order, and with it the sameness.
func (h *handling) nextID(contract string) string {
	if h == nil || h.message.ID == "" {
		return newID()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sent == nil {
		h.sent = make(map[string]int)
	}
	h.sent[contract]++
	return derivedID(h.message.ID, h.scope, contract, h.sent[contract])
}

// Rewind is for middleware that may call a handler more than once for one delivery, as in a transaction that is repeated. It
// returns a function to call before each of them, so that what the handler sends has the same ids each time. It does nothing
// outside a handler. No goroutine of an earlier call may still send.
func Rewind(ctx context.Context) func() {
	h := handlingFrom(ctx)
	if h == nil {
		return func() {}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	sent := maps.Clone(h.sent)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.sent = maps.Clone(sent)
	}
}

type handlingKey struct{}

// handlingContext carries a handling without a further allocation.
type handlingContext struct {
	context.Context //nolint:containedctx // it is a context
	*handling
}

func (c handlingContext) Value(key any) any {
	if _, ok := key.(handlingKey); ok {
		return c.handling
	}
	return c.Context.Value(key)
}

func handlingFrom(ctx context.Context) *handling {
	h, _ := ctx.Value(handlingKey{}).(*handling)
	return h
}
