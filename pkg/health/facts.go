package health

import (
	"time"

	"github.com/leveretmq/leveret/pkg/management"
)

// Facts are what was found out about a system. What is not known is left out, and named in Unseen.
type Facts struct {
	// Program is the name of the command line, for the commands that findings recommend.
	Program string
	Now     time.Time
	// Unreachable is why there is no connection to the broker; nothing else is known then but Address.
	Unreachable error
	// Next is what to do about that; empty for the default.
	Next string
	// Address is where the broker is, without a password.
	Address, Version, VHost string
	// Nodes are those of the broker; nil if unknown.
	Nodes []management.Node
	// Alarm is what a connection that publishes was notified of, where Nodes are unknown; empty for none.
	Alarm  string
	Queues []Queue
	// Outboxes are those of the services that could be asked, and have one.
	Outboxes []Outbox
	Unseen   []Unseen
}

// An Outbox is what waits in the outbox of a service.
type Outbox struct {
	Service string
	// Aside is how many messages cannot be sent as they are, and BlockedKeys how many keys wait for one of them.
	Aside, BlockedKeys int
	// Lag is how long the oldest message that is ready has been so.
	Lag time.Duration
	// Trouble says why messages cannot be sent now.
	Trouble []string
	// Remembers is how long the ids of handled messages are kept; 0 where the service has no inbox.
	Remembers time.Duration
}

// Unseen is something that could not be looked at.
type Unseen struct{ What, Why, Next string }

// A Kind says what a queue is for.
type Kind string

// The kinds of queue.
const (
	Work        Kind = "work"         // of a command or an event
	Request     Kind = "request"      // of a request
	DeadLetters Kind = "dead_letters" // messages that failed for good
	Retry       Kind = "retry"        // a retry tier
	Lost        Kind = "lost"         // messages whose queue was gone when their retry was due
	Quarantine  Kind = "quarantine"   // messages that may have crashed their worker
	Kept        Kind = "kept"         // the stream of a kept event, which waits for nobody
)

// A Queue is one queue of the system.
type Queue struct {
	Name string
	Kind Kind
	// Service consumes the queue. It is empty for a queue that several services share.
	Service string
	// Of is the work queue whose dead letters these are.
	Of string
	// Theirs says that somebody else's dead-letter exchange fills it, and that it is for others to say how it is kept. Its
	// messages are not read: that may remove them after some times.
	Theirs bool
	// Delay is that of a retry tier.
	Delay time.Duration
	// Age and Bytes are for how long and up to which size a stream keeps, as its contract says.
	Age   time.Duration
	Bytes int64

	// Seen is false if nothing below is known.
	Seen, Declared bool
	// Ready is some seconds old for a stream.
	Ready, Consumers int
	Unacked          int // 0 if unknown
	// Oldest is the age of the oldest message; 0 if unknown.
	Oldest time.Duration
	// Down is why the queue is not available: its state, such as "minority", or that there was no answer.
	Down string
	// Policy is what policies do to the queue; zero if unknown.
	Policy management.AppliedPolicy
	// Letters are the dead letters that were read; nil if none were.
	Letters *Letters
}

// Letters are some dead letters of a queue.
type Letters struct {
	Read int
	// Reasons are why they failed, the most frequent first.
	Reasons []Reason
}

// A Reason is why some dead letters failed.
type Reason struct {
	// Why is the error's code or the broker's reason. Error is the message of the newest, and may be empty.
	Why, Error string
	Count      int
	// Oldest and Newest are when they failed; zero if unknown.
	Oldest, Newest time.Time
}
