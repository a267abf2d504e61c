package hello

import (
	"context"
	"fmt"
	"sync"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Greeter does the service's work. It knows nothing of RabbitMQ. It is safe for concurrent use.
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

// Greet greets somebody, and tells so. What it returns decides what becomes of the command: nil and it is done, an error
// that may pass (the broker is away) and it is tried again, one that will not and it becomes a dead letter.
func (g *Greeter) Greet(ctx context.Context, greeting Greeting) error {
	if greeting.Name == "nobody" {
		return leveret.Errorf(leveret.FailedPrecondition, "there is nobody to greet")
	}
	return PersonGreeted.Publish(ctx, g.sender, GreetedPerson{
		GreetingID: greeting.GreetingID,
		Name:       greeting.Name,
		Text:       fmt.Sprintf("%s, %s!", g.salutation, greeting.Name),
	})
}

// OnPersonGreeted counts. Messages may come twice: the id of the greeting makes them count once.
func (g *Greeter) OnPersonGreeted(_ context.Context, p GreetedPerson) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.greeted[p.Name] == nil {
		g.greeted[p.Name] = make(map[string]bool)
	}
	g.greeted[p.Name][p.GreetingID] = true
	return nil
}

// Count answers how often somebody was greeted. The caller gets the error, with its code.
func (g *Greeter) Count(_ context.Context, q CountQuery) (CountReply, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := len(g.greeted[q.Name])
	if n == 0 {
		return CountReply{}, leveret.Errorf(leveret.NotFound, "%q was never greeted", q.Name)
	}
	return CountReply{Greetings: n}, nil
}
