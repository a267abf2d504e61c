package rabbit

import "github.com/leveretmq/leveret/pkg/rabbit/internal/frames"

// HeadersDropped is the header that replaces headers of a delivery that the driver could not read; it says why.
const HeadersDropped = frames.Dropped

// TableSize estimates, from above, how many bytes a header table takes on the wire. All of a message's headers go into
// one frame; one that is larger than the broker's frame_max (128 KiB by default) closes the connection.
func TableSize(t Table) int {
	size := 4
	for name, value := range t {
		size += 1 + len(name) + fieldSize(value)
	}
	return size
}

func fieldSize(value any) int {
	switch v := value.(type) {
	case string:
		return 5 + len(v)
	case []byte:
		return 5 + len(v)
	case Table:
		return 1 + TableSize(v)
	case map[string]any:
		return 1 + TableSize(v)
	case []any:
		size := 5
		for _, item := range v {
			size += fieldSize(item)
		}
		return size
	default:
		return 9
	}
}

// propertiesSize estimates, from above, how many bytes the content header of a message takes.
func propertiesSize(p *Publishing) int {
	const fixed = 2 + 2 + 8 + 2 + 1 + 1 + 8 + 11 // class, weight, size, flags, mode, priority, time, lengths of strings
	return fixed + TableSize(p.Headers) + len(p.ContentType) + len(p.ContentEncoding) + len(p.CorrelationId) + len(p.ReplyTo) +
		len(p.Expiration) + len(p.MessageId) + len(p.Type) + len(p.UserId) + len(p.AppId)
}
