package peers

import (
	"context"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// A Setting is the same for all peers.
type Setting struct {
	// URL is the address of an initially empty virtual host used for a single measurement.
	URL string
	// Address is where a peer that does not use RabbitMQ serves: "127.0.0.1:40123".
	Address string
	// Queue is the name of the work queue or request queue, and of the contract: "bench.work".
	Queue string
	// Queues replaces Queue where growth with the number of queues is measured. Otherwise it is nil.
	Queues []string
	// Window limits the number of publishes that wait for their confirm.
	Window int
	// Prefetch and Concurrency are of the receiving side.
	Prefetch, Concurrency int
	// Batch is how many deliveries a receiver may take together when it works off a backlog, where nobody waits for a
	// particular message. 0 means one at a time.
	Batch int
	// Senders is how many goroutines publish at once.
	Senders int
	// Declared reports whether the queue was already declared, with its own arguments.
	Declared bool
	// RetryDelay is how long a failed message waits before it is handled again.
	RetryDelay time.Duration
	// Log receives errors.
	Log *slog.Logger
}

// A Handler handles a message. After an error, the message is to be retried.
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

// A Peer is a library to be measured. A nil function means that the library does not offer this.
type Peer struct {
	// Name is short: "raw".
	Name string
	// Module is the Go module, whose version is read from the binary; With is another that belongs to it.
	Module, With string
	// Variant marks a variant of another peer, which is measured in a few scenarios only.
	Variant bool
	// Transport is what carries requests. Only peers with the same one are compared.
	Transport Transport
	// About describes its strongest guarantee and how it is configured.
	About string
	// FilledBy names the peer that fills the queue for this one. If empty, this one does so itself.
	FilledBy string
	// Batches reports whether Work makes use of Setting.Batch.
	Batches bool
	// RetryAbout describes how a failed message comes back, if the library does not do that itself.
	RetryAbout string

	// Sender opens a Sender and declares what it needs.
	Sender func(ctx context.Context, s Setting) (Sender, error)
	// Pipeline is the same for one goroutine.
	Pipeline func(ctx context.Context, s Setting) (Pipeline, error)
	// Work handles messages until ctx ends, and returns when everything has ended. It calls ready when it consumes.
	Work func(ctx context.Context, s Setting, ready func(), h Handler) error
	// Retry is Work where failed messages come back after Setting.RetryDelay.
	Retry func(ctx context.Context, s Setting, ready func(), h Handler) error
	// PrepareRetry declares what Retry needs before the queue is filled, where that is not what Sender declares.
	PrepareRetry func(s Setting) error
	// Caller opens a Caller.
	Caller func(ctx context.Context, s Setting) (Caller, error)
	// Serve answers requests until ctx ends. It calls ready when it consumes.
	Serve func(ctx context.Context, s Setting, ready func(), r Responder) error
}

// A Transport carries messages.
type Transport string

// The transports. The zero value is RabbitMQ.
const (
	RabbitMQ Transport = ""
	HTTP     Transport = "HTTP"
	GRPC     Transport = "gRPC"
)

// Names of Leveret, and of the peers with which it is compared.
const (
	Raw         = "raw"
	RawBatched  = "raw-batched"
	RawHTTP     = "raw-http"
	RawGRPC     = "raw-grpc"
	Leveret     = "leveret"
	Telemetry   = "leveret-otel"
	LeveretHTTP = "leveret-http"
	LeveretGRPC = "leveret-grpc"
)

// Leveret returns the name of Leveret's peer for a transport.
func (t Transport) Leveret() string {
	return map[Transport]string{RabbitMQ: Leveret, HTTP: LeveretHTTP, GRPC: LeveretGRPC}[t]
}

// Raw returns the name of the peer that uses the transport by hand.
func (t Transport) Raw() string {
	return map[Transport]string{RabbitMQ: Raw, HTTP: RawHTTP, GRPC: RawGRPC}[t]
}

// IsOther reports whether a peer is another library: neither Leveret nor a transport by hand.
func IsOther(name string) bool {
	return !slices.Contains([]string{Raw, RawBatched, RawHTTP, RawGRPC, Leveret, Telemetry, LeveretHTTP, LeveretGRPC}, name)
}

// All returns the peers, in display order.
func All() []Peer {
	ours := []Peer{raw(), rawBatched(), leveretPeer(), leveretOtel(), rawHTTP(), leveretHTTP(), rawGRPC(), leveretGRPC()}
	return append(ours, others()...)
}

// Find returns the peer with the given name.
func Find(name string) (Peer, bool) {
	all := All()
	i := slices.IndexFunc(all, func(p Peer) bool { return p.Name == name })
	if i < 0 {
		return Peer{}, false
	}
	return all[i], true
}

// Driver is the module used by all peers. Only one version of it can be linked into a binary.
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
	if module == standard {
		return runtime.Version()
	}
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
