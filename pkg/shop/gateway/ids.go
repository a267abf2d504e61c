package gateway

import (
	"crypto/sha256"

	"github.com/google/uuid"
)

// orderID returns the id of the order that a customer places under a key: always the same, whichever gateway takes it,
// and whatever is left of its store. So an order that is placed again is never a second one.
func orderID(customerID, key string) string { return derivedID("order", customerID, key) }

// userID returns the id of the user that a request registers: the same for the same Idempotency-Key, so that a request
// that is repeated registers nobody twice.
func userID(key string) string {
	if u, err := uuid.Parse(key); err == nil && u.Version() == 7 && u.String() == key {
		return key
	}
	return derivedID("user", key)
}

// derivedID returns a UUIDv8 (RFC 9562) that follows from its parts.
func derivedID(kind string, parts ...string) string {
	h := sha256.New()
	for _, part := range append([]string{kind}, parts...) {
		sum := sha256.Sum256([]byte(part)) // so that no two lists of parts look the same
		h.Write(sum[:])
	}
	u := uuid.UUID(h.Sum(nil)[:16])
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return u.String()
}
