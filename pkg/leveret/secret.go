package leveret

import (
	"fmt"
	"io"
	"log/slog"
)

// A Secret is a field of a payload that nobody may see, such as a password. JSON carries it as it is, to the other side;
// fmt and log/slog print "[secret]" in its place, and so does all that shows payloads: see package schema. Convert it to
// a string to use it.
type Secret string

// Format prints "[secret]", whatever the verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[secret]") }

// LogValue returns "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }
