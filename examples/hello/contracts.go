// Package hello is a first service on Leveret: it greets people, announces each greeting, and reports how often
// somebody was greeted.
package hello

import (
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// The contracts: everything that can be sent.
var (
	// Greet asks the service to greet somebody. The sender does not wait for it to be done.
	Greet = leveret.NewCommand[Greeting]("hello.greet",
		leveret.Example(Greeting{GreetingID: "g-1", Name: "Ada"}))

	// PersonGreeted announces that somebody was greeted.
	PersonGreeted = leveret.NewEvent[PersonGreetedEvent]("hello.greeted",
		leveret.Example(PersonGreetedEvent{GreetingID: "g-1", Name: "Ada", Text: "Hello, Ada!"}))

	// CountGreetings asks how often somebody was greeted. It fails with NotFound if they never were.
	CountGreetings = leveret.NewRequest[CountQuery, CountReply]("hello.count",
		leveret.HTTP("GET /greetings/{name}"), // three transports
		leveret.Timeout(2*time.Second), leveret.Idempotent(), leveret.Example(CountQuery{Name: "Ada"}))
)

// The services, and what each sends and serves.
var (
	// Service greets people. It subscribes to its own event; usually, other services do.
	Service = leveret.NewService("hello",
		leveret.Handles(Greet),
		leveret.Publishes(PersonGreeted),
		leveret.SubscribesTo(PersonGreeted),
		leveret.Answers(CountGreetings))

	// Guest is the command line as a caller.
	Guest = leveret.NewService("guest", leveret.Calls(CountGreetings))

	// Catalog is the whole system. Its command line, queues and documentation follow from it.
	Catalog = leveret.NewCatalog(Service, Guest)
)

// Greeting names the person to greet.
type Greeting struct {
	// GreetingID is created by the sender. A greeting that arrives twice is counted once.
	GreetingID string `json:"greeting_id"`
	Name       string `json:"name"`
}

// Validate is called before a greeting is sent and after one is received.
func (g Greeting) Validate() error {
	if g.GreetingID == "" {
		return errors.New("greeting_id: is required")
	}
	if g.Name == "" {
		return errors.New("name: is required")
	}
	return nil
}

// PersonGreetedEvent names the person who was greeted, and has the text of the greeting.
type PersonGreetedEvent struct {
	GreetingID string `json:"greeting_id"`
	Name       string `json:"name"`
	Text       string `json:"text"`
}

// CountQuery names a person.
type CountQuery struct {
	Name string `json:"name"`
}

// CountReply is the number of times that a person was greeted.
type CountReply struct {
	Greetings int `json:"greetings"`
}
