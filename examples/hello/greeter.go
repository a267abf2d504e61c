package hello

import (
	"context"
	"fmt"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Greeter does the service's work and knows nothing about RabbitMQ. It is safe for concurrent use.
type Greeter struct {
	salutation string
	sender     leveret.Sender

	mu      sync.Mutex
	greeted map[string]map[string]bool // greeting ids by name; a real service has a database
}

// NewGreeter makes a greeter that sends through sender.
func NewGreeter(salutation string, sender leveret.Sender) *Greeter {
	return &Greeter{salutation: salutation, sender: sender, greeted: make(map[string]map[string]bool)}
}

// Register makes the greeter the handler of everything that Service serves.
func (g *Greeter) Register(h *leveret.Handlers) {
	Greet.Handle(h, g.Greet)
	PersonGreeted.Subscribe(h, g.OnPersonGreeted)
	CountGreetings.Answer(h, g.Count)
}

// Greet greets somebody and publishes PersonGreeted. Its result decides what happens to the command: after nil it is
// done, after a temporary error (the broker is down, for example) it is retried, and after a permanent error it is
// dead-lettered.
func (g *Greeter) Greet(ctx context.Context, greeting Greeting) error {
	if greeting.Name == "nobody" {
		return leveret.Errorf(leveret.FailedPrecondition, "there is nobody to greet")
	}
	return PersonGreeted.Publish(ctx, g.sender, PersonGreetedEvent{
		GreetingID: greeting.GreetingID,
		Name:       greeting.Name,
		Text:       fmt.Sprintf("%s, %s!", g.salutation, greeting.Name),
	})
}

// OnPersonGreeted counts the greeting. A message may arrive twice, so it is counted by the greeting's id.
func (g *Greeter) OnPersonGreeted(_ context.Context, p PersonGreetedEvent) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.greeted[p.Name] == nil {
		g.greeted[p.Name] = make(map[string]bool)
	}
	g.greeted[p.Name][p.GreetingID] = true
	return nil
}

// Count returns how often somebody was greeted. The caller receives the error with its code.
func (g *Greeter) Count(_ context.Context, q CountQuery) (CountReply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.greeted[q.Name])
	if n == 0 {
		return CountReply{}, leveret.Errorf(leveret.NotFound, "%q was never greeted", q.Name)
	}
	return CountReply{Greetings: n}, nil
}
