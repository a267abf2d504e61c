// Package hello is a first service on Leveret: it greets people, tells that it did, and answers how often.
package hello

import (
	"errors"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// What may be sent.
var (
	// Greet asks the service to greet somebody. Who sends it does not wait for it.
	Greet = leveret.NewCommand[Greeting]("hello.greet",
		leveret.Example(Greeting{GreetingID: "g-1", Name: "Ada"}))

	// PersonGreeted tells whoever listens that somebody was greeted.
	PersonGreeted = leveret.NewEvent[GreetedPerson]("hello.greeted",
		leveret.Example(GreetedPerson{GreetingID: "g-1", Name: "Ada", Text: "Hello, Ada!"}))

	// CountGreetings asks how often somebody was greeted. Of somebody who never was, the answer is NotFound.
	CountGreetings = leveret.NewRequest[CountQuery, CountReply]("hello.count",
		leveret.Timeout(2*time.Second), leveret.Idempotent(), leveret.Example(CountQuery{Name: "Ada"}))
)

// Who talks with whom.
var (
	// Service is the one service there is. It listens to its own event; usually others do.
	Service = leveret.NewService("hello",
		leveret.Handles(Greet),
		leveret.Publishes(PersonGreeted),
		leveret.SubscribesTo(PersonGreeted),
		leveret.Answers(CountGreetings))

	// Catalog is the whole system. Its CLI, its queues and its documents follow from it.
	Catalog = leveret.NewCatalog(Service)
)

// Greeting is whom to greet.
type Greeting struct {
	// GreetingID is made by the sender. A greeting that arrives twice is counted once.
	GreetingID string `json:"greeting_id"`
	Name       string `json:"name"`
}

// Validate is asked before a greeting is sent, and after one was received.
func (g Greeting) Validate() error {
	if g.GreetingID == "" {
		return errors.New("greeting_id: is required")
	}
	if g.Name == "" {
		return errors.New("name: is required")
	}
	return nil
}

// GreetedPerson is somebody who was greeted, and how.
type GreetedPerson struct {
	GreetingID string `json:"greeting_id"`
	Name       string `json:"name"`
	Text       string `json:"text"`
}

// CountQuery names somebody.
type CountQuery struct {
	Name string `json:"name"`
}

// CountReply is how often somebody was greeted.
type CountReply struct {
	Greetings int `json:"greetings"`
}
