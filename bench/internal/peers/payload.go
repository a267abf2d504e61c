package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// A Payload is what every peer carries, encoded and decoded by encoding/json on both sides: a service would do that
// too.
type Payload struct {
	ID string `json:"id"`
	// At is when the message should have been sent, in nanoseconds since 1970.
	At   int64  `json:"at"`
	Fill string `json:"fill"`
}

// empty is the length of a payload without fill: the id has 12 digits, the time 19.
const empty = len(`{"id":"012345678901","at":1234567890123456789,"fill":""}`)

// Payloads makes payloads that take exactly size bytes as JSON, or as few as possible above it.
func Payloads(size int) func(n int) *Payload {
	fill := strings.Repeat("x", max(size-empty, 0))
	return func(n int) *Payload { return &Payload{ID: ID(n), At: time.Now().UnixNano(), Fill: fill} }
}

// ID is the id of the n-th payload.
func ID(n int) string { return fmt.Sprintf("%012d", n) }

// handleBody decodes a payload and hands it on.
func handleBody(ctx context.Context, body []byte, h Handler) error {
	var p Payload
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	return h(ctx, &p)
}
