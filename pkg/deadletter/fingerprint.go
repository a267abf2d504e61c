package deadletter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/rabbit"
)

// Fingerprint is a name of the letter, 12 characters long, that is the same each time it is read, on every machine. It
// depends on the properties and headers, without those that RabbitMQ changes while the letter lies there, and on the body
// where the letter has no ID: of one that has an ID it says nothing about the body, which may hold secrets. Letters that
// are the same in all of that have the same fingerprint.
func (l *Letter) Fingerprint() string { return hex.EncodeToString(l.digest()[:6]) }

// hash is a longer fingerprint.
func (l *Letter) hash() uint64 { return binary.BigEndian.Uint64(l.digest()) }

func (l *Letter) digest() []byte {
	d := l.Delivery
	h := sha256.New()
	digestOf(h, []any{
		d.MessageId, d.RoutingKey, d.Type, d.ContentType, d.ContentEncoding, d.CorrelationId, d.ReplyTo, d.Expiration, d.UserId, d.AppId,
		d.Timestamp, d.Priority, d.DeliveryMode,
	})
	own := maps.Clone(d.Headers)
	maps.DeleteFunc(own, func(name string, _ any) bool { return strings.HasPrefix(name, "x-") })
	digestOf(h, own)
	if l.ID == "" {
		digestOf(h, d.Body)
	}
	return h.Sum(nil)
}

// digestOf writes a value so that different ones differ.
func digestOf(h hash.Hash, v any) {
	switch v := v.(type) {
	case rabbit.Table:
		fmt.Fprintf(h, "{%d", len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(h, "%q:", name)
			digestOf(h, v[name])
		}
	case []any:
		fmt.Fprintf(h, "[%d", len(v))
		for _, item := range v {
			digestOf(h, item)
		}
	case []byte:
		fmt.Fprintf(h, "b%d:", len(v))
		h.Write(v)
	case time.Time:
		fmt.Fprintf(h, "t%d;", v.Unix())
	default:
		fmt.Fprintf(h, "%T%q;", v, fmt.Sprint(v))
	}
}
