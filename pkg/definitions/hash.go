package definitions

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// hashingAlgorithm is what RabbitMQ calls that of [Hash].
const hashingAlgorithm = "rabbit_password_hashing_sha256"

// Hash returns the hash of a password as RabbitMQ keeps it: salted, so that it is another one each time. The salt has
// four bytes and SHA-256 is quick: guessing a short password takes no time, so it should be random, of 128 bits or
// more.
func Hash(password string) string {
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	sum := sha256.Sum256(append(salt[:], password...))
	return base64.StdEncoding.EncodeToString(append(salt[:], sum[:]...))
}
