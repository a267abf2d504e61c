package rabbit

import (
	"context"
	"errors"
	"sync"
)

// A Gate stops and starts consumers while they run. The zero Gate is open. It is safe for concurrent use.
type Gate struct {
	mu     sync.Mutex
	reason error           // why it is closed; nil while it is open
	moves  context.Context //nolint:containedctx // ends when the gate opens or closes; nil until somebody waits for that
	move   context.CancelFunc
}

// Close makes the gate's consumers take no more deliveries. They give back those that they have not begun, as at the
// end of [Consumer.Run], and let running handlers finish. On a closed gate it changes the reason.
func (g *Gate) Close(reason error) {
	if reason == nil {
		reason = errors.New("closed")
	}
	g.set(reason)
}

// Open lets the gate's consumers consume again.
func (g *Gate) Open() { g.set(nil) }

// Err returns why the gate is closed; nil if it is open.
func (g *Gate) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason
}

func (g *Gate) set(reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.moves != nil && (reason == nil) != (g.reason == nil) {
		g.move()
		g.moves = nil
	}
	g.reason = reason
}

// pass waits until the gate is open or ctx has ended. It returns a context that ends when the gate closes, or with ctx.
// The function that it returns must be called.
func (g *Gate) pass(ctx context.Context) (context.Context, func()) {
	for {
		g.mu.Lock()
		if g.moves == nil {
			g.moves, g.move = context.WithCancel(context.WithoutCancel(ctx)) //nolint:fatcontext // of the gate, not of the loop
		}
		closed, moves := g.reason != nil, g.moves
		g.mu.Unlock()
		if !closed {
			return either(ctx, moves)
		}
		select {
		case <-moves.Done():
		case <-ctx.Done():
			return ctx, func() {}
		}
	}
}
