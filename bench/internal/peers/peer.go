package peers

import (
	"context"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"
)

// A Setting is what every peer is given alike.
type Setting struct {
	// URL leads to a virtual host that is empty at first and belongs to one measurement.
	URL string
	// Queue is the name of the work queue or request queue, and of the contract: "bench.work".
	Queue string
	// Queues are several of them, where growth with their number is measured; else nil, and Queue counts.
	Queues []string
	// Window bounds the publishes that wait for their confirm.
	Window int
	// Prefetch and Concurrency are of the receiving side.
	Prefetch, Concurrency int
	// Batch is how many deliveries a receiver may take together, where a backlog is worked off and nobody waits for a
	// message of it; 0: each by itself.
	Batch int
	// Senders is how many goroutines publish at once.
	Senders int
	// Declared says that the queue was declared before, with arguments of its own.
	Declared bool
	// RetryDelay is how long a failed message waits before it is handled again.
	RetryDelay time.Duration
	// Log is told of what goes wrong.
	Log *slog.Logger
}

// A Handler is what a message ends in. An error means that it is to be tried again.
type Handler func(ctx context.Context, p *Payload) error

// A Responder answers a request.
type Responder func(ctx context.Context, p *Payload) (*Payload, error)

// A Sender publishes and waits: nil means that the peer reports the message as safely in its queue.
type Sender interface {
	Send(ctx context.Context, p *Payload) error
	Close(ctx context.Context) error
}

// A Pipeline publishes from one goroutine without waiting for each confirm. Flush waits for all, and returns nil if and
// only if the peer reports all as safely in their queue.
type Pipeline interface {
	Sender
	Flush(ctx context.Context) error
}

// A Caller makes requests. It is safe for concurrent use.
type Caller interface {
	Call(ctx context.Context, p *Payload) (*Payload, error)
	Close(ctx context.Context) error
}

// A Peer is one way to talk to RabbitMQ. A function that is nil is not offered by it.
type Peer struct {
	// Name is short: "raw".
	Name string
	// Module is the Go module, whose version is read from the binary; With is another that belongs to it.
	Module, With string
	// Variant says that it is another form of a peer, measured in a few scenarios only.
	Variant bool
	// About says what its strongest guarantee is and how that is configured.
	About string
	// FilledBy names the peer that fills the queue for this one; empty: it does so itself.
	FilledBy string
	// Batches says that Work does otherwise where Setting.Batch is set.
	Batches bool
	// RetryAbout says how a failed message comes back, where that is not the peer's own doing.
	RetryAbout string

	// Sender opens what publishes; it declares what it needs.
	Sender func(ctx context.Context, s Setting) (Sender, error)
	// Pipeline is the same for one goroutine.
	Pipeline func(ctx context.Context, s Setting) (Pipeline, error)
	// Work handles messages until ctx ends, and returns when all has ended. It calls ready when it consumes.
	Work func(ctx context.Context, s Setting, ready func(), h Handler) error
	// Retry is Work where failed messages come back after Setting.RetryDelay.
	Retry func(ctx context.Context, s Setting, ready func(), h Handler) error
	// PrepareRetry declares what Retry needs before the queue is filled, where that is not what Sender declares.
	PrepareRetry func(s Setting) error
	// Caller opens what makes requests.
	Caller func(ctx context.Context, s Setting) (Caller, error)
	// Serve answers requests until ctx ends. It calls ready when it consumes.
	Serve func(ctx context.Context, s Setting, ready func(), r Responder) error
}

// Names of the peers that others are compared with.
const (
	Raw        = "raw"
	RawBatched = "raw-batched"
	Leveret    = "leveret"
	Telemetry  = "leveret-otel"
)

// All returns the peers, in the order in which they are shown.
func All() []Peer {
	return append([]Peer{raw(), rawBatched(), leveretPeer(), leveretOtel()}, others()...)
}

// Find returns the peer of a name.
func Find(name string) (Peer, bool) {
	all := All()
	i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name })
	if i < 0 {
		return Peer{}, false
	}
	return all[i], true
}

// Driver is the module below all peers: one version of it can be linked into a binary.
const Driver = driver

// DriverVersion returns its version.
func DriverVersion() string { return moduleVersion(driver) }

// Modules returns the peer's modules and their versions, as they are linked into this binary.
func (p Peer) Modules() string {
	text := p.Module + " " + moduleVersion(p.Module)
	if p.With != "" {
		text += ", " + p.With + " " + moduleVersion(p.With)
	}
	return text
}

func moduleVersion(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path == module {
			if m.Replace != nil {
				return "(this tree)"
			}
			return m.Version
		}
	}
	return "unknown"
}
