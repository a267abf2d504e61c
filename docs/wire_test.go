package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/queues"
)

// The payloads in the Python programs of wire.md are ones that the shop accepts.
func TestPayloadsForeignersSend(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("wire.md")
	require.NoError(t, err)
	decode := map[string]func(body []byte) error{
		"order":   func(body []byte) error { _, err := queues.PlaceOrder.Decode(body); return err },
		"payment": func(body []byte) error { _, err := queues.AuthorizePayment.Decode(body); return err },
	}
	for _, found := range regexp.MustCompile(`(?ms)^(\w+) = (\{.*?\})\n[a-z]`).FindAllStringSubmatch(string(page), -1) {
		check := decode[found[1]]
		require.NotNil(t, check, found[1])
		payload := strings.ReplaceAll(found[2], "str(uuid.uuid4())", `"01a22628-9d46-737b-824a-6889053fac45"`)
		require.NoError(t, check([]byte(payload)), found[1])
		delete(decode, found[1])
	}
	require.Empty(t, decode)
}
