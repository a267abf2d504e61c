package wire

import (
	"cmp"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// A Failure is what a worker writes into the headers of a message that has failed.
type Failure struct {
	// Queue is where it failed, Service and Host the process that gave up. Dead letters only.
	Queue, Service, Host string
	// Code, Reason and Message are the error's. Stack is a panic's, where it is wanted.
	Code, Reason, Message, Stack string
	// Attempts is how often the message was handled, crashes not counted.
	Attempts int
	// At is when it failed last, FirstAt when it failed for the first time.
	At, FirstAt time.Time
}

// The limits of what is written, and of what a problem says, in bytes.
const (
	MaxMessage = 2 << 10
	MaxStack   = 8 << 10
	maxReason  = 255
)

// PutRetry writes into the copy of a message that is tried again what it failed of, and the number of the next attempt.
func (f Failure) PutRetry(h rabbit.Table) {
	f.put(h)
	h[Attempt] = int64(f.Attempts + 1)
}

// PutLetter writes into a dead letter why it is one.
func (f Failure) PutLetter(h rabbit.Table) {
	ClearFailure(h)
	f.put(h)
	h[FailedQueue], h[Service], h[Host] = f.Queue, f.Service, f.Host
	h[Attempts] = int64(f.Attempts)
	if f.Stack != "" {
		h[Stack] = Cut(f.Stack, MaxStack)
	}
}

// put writes what every failed message carries. When it first failed stays, through all attempts and replays.
func (f Failure) put(h rabbit.Table) {
	if Time(h, FirstFailedAt).IsZero() {
		h[FirstFailedAt] = FormatTime(f.At)
	}
	h[FailedAt], h[ErrorCode], h[ErrorMessage] = FormatTime(f.At), f.Code, Cut(f.Message, MaxMessage)
	delete(h, ErrorReason) // of an earlier failure
	if f.Reason != "" {
		h[ErrorReason] = Cut(f.Reason, maxReason)
	}
}

// FailureOf reads what a worker has written. Without a code there was no worker.
func FailureOf(h rabbit.Table) Failure {
	return Failure{
		Queue: Text(h, FailedQueue), Service: Text(h, Service), Host: Text(h, Host),
		Code: Text(h, ErrorCode), Reason: Text(h, ErrorReason), Message: Text(h, ErrorMessage), Stack: Text(h, Stack),
		Attempts: cmp.Or(Count(h, Attempts), Count(h, Attempt)), At: Time(h, FailedAt), FirstAt: Time(h, FirstFailedAt),
	}
}

// ClearFailure takes off what a worker has written, but for when the message first failed.
func ClearFailure(h rabbit.Table) {
	for _, name := range [...]string{
		Attempt, Attempts, FailedQueue, FailedAt, ErrorCode, ErrorReason, ErrorMessage, Service, Host, Stack,
	} {
		delete(h, name)
	}
}
