package cli

import (
	"strconv"
	"time"

	"github.com/leveretmq/leveret/pkg/stream"
)

// A keptPlace is a place in a stream as a person states it: first, a time, or an offset.
type keptPlace struct {
	stream.Place

	offset int64     // -1 if it is none
	at     time.Time // zero if it is none
}

// parsePlace reads --from or --until.
func parsePlace(flag, text string) (keptPlace, error) {
	if text == "first" && flag == "--from" {
		return keptPlace{Place: stream.First(), offset: -1}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return keptPlace{Place: stream.Offset(n), offset: n}, nil
	}
	for _, layout := range [...]string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return keptPlace{Place: stream.Since(at), offset: -1, at: at}, nil
		}
	}
	first := ""
	if flag == "--from" {
		first = "first, "
	}
	return keptPlace{}, usage("", "%s is %q; it must be %san offset, or a time such as 2026-05-31T12:00:00Z or 2026-05-31 (UTC)", flag, text, first)
}
