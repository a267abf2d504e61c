package leveret

import (
	"crypto/sha256"
	"strconv"

	"github.com/google/uuid"
)

// newID returns a UUIDv7: unique, and in the order of time.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// newCorrelationID returns a random UUID: nobody can guess it and answer in another's place.
func newCorrelationID() string { return uuid.NewString() }

// derivedID returns the UUIDv8 of the n-th message of a contract that the handling of one message sends. The scope,
// which is what handles it, is part of it: two subscribers to one event that send the same contract send two messages,
// not one twice.
func derivedID(handledID, scope, contract string, n int) string {
	h := sha256.New()
	for _, part := range []string{handledID, scope, contract, strconv.Itoa(n)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	var id uuid.UUID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // RFC 9562 variant
	return id.String()
}
