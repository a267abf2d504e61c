package operator

import (
	"encoding/json"
	"time"
)

// An Outbox is what waits in the outbox of a service: see package outbox.
type Outbox struct {
	// Program is the binary whose command "outbox" shows it.
	Program     string `json:"program"`
	Ready       int    `json:"ready"`
	Later       int    `json:"later"`
	Blocked     int    `json:"blocked"`
	Aside       int    `json:"aside"`
	BlockedKeys int    `json:"blocked_keys"`
	// Lag is how long the oldest message that is ready has been so, in seconds.
	Lag float64 `json:"lag_s"`
	// Trouble says why messages cannot be sent now.
	Trouble []string `json:"trouble,omitempty"`
	// Unseen is why the process could not look at its outbox; then the numbers are not known.
	Unseen string `json:"unseen,omitempty"`
	// Remembers is how long the ids of handled messages are kept, in seconds; 0 where there are none.
	Remembers float64 `json:"remembers_s,omitempty"`
}

// An OutboxMessage is a message in an outbox. Null stands for what there is not.
type OutboxMessage struct {
	ID       string  `json:"id"`
	Contract string  `json:"contract"`
	Key      *string `json:"key"`
	// State is "aside", "blocked", "ready" or "later".
	State   string     `json:"state"`
	Since   time.Time  `json:"since"`
	DueAt   *time.Time `json:"due_at"`
	Tries   int        `json:"tries"`
	Trouble *string    `json:"trouble"`
	// Headers and Payload are there where one message is shown. The headers are those that the sender set. The payload is the JSON that the contract's codec makes of it,
	// with secret fields hidden; in base64 where it cannot be read, and absent if it may then hold a secret.
	Headers map[string]any  `json:"headers,omitzero"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// The commands of a process that sends an outbox.
const (
	// OutboxList takes an [OutboxQuery], and returns a list of [OutboxMessage].
	OutboxList = "outbox.ls"
	// The others take an id. OutboxShow returns the [OutboxMessage].
	OutboxShow   = "outbox.show"
	OutboxRetry  = "outbox.retry"
	OutboxSkip   = "outbox.skip"
	OutboxCancel = "outbox.cancel"
)

// An OutboxQuery selects messages of an outbox.
type OutboxQuery struct {
	// State is "aside", "blocked", "ready" or "later"; empty for all, in this order.
	State string `json:"state"`
	// Limit is how many at most.
	Limit int `json:"limit"`
}
