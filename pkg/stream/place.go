package stream

import (
	"fmt"
	"time"
)

// A Place is where reading a stream begins. Its zero value is none: a reader never begins at a place that nobody chose.
type Place struct {
	argument any // x-stream-offset
	text     string
}

// First is the oldest event that the stream still has.
func First() Place { return Place{"first", "the first event"} }

// Since is the first event of the chunk that holds the first event after t, to the second. RabbitMQ writes events that
// arrive together in one chunk, and looks at its own clock: some of the events may be older than t.
func Since(t time.Time) Place {
	return Place{t.UTC().Truncate(time.Second), "the events since " + t.UTC().Format(time.RFC3339)}
}

// Offset is the event with that offset, or the next one where there is none. One beyond the end is waited for.
func Offset(n int64) Place { return Place{n, fmt.Sprintf("offset %d", n)} }

// lastChunk is the chunk that was written last.
var lastChunk = Place{"last", "the last chunk"}

// String returns the place in words: "the first event".
func (p Place) String() string { return p.text }
