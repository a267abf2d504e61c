package health

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Unseen.What of what decides whether a check is ok.
const alarms = "alarms"

// Alarms is what is unseen if nobody could be asked about alarms.
func Alarms(why, next string) Unseen { return Unseen{alarms, why, next} }

func (e *examination) misses(what string) bool {
	return slices.ContainsFunc(e.Facts.Unseen, func(u Unseen) bool { return u.What == what })
}

// each returns the queues of these kinds, or of all, that exist and were seen.
func (e *examination) each(kinds ...Kind) iter.Seq[*Queue] {
	return func(yield func(*Queue) bool) {
		for i := range e.Queues {
			q := &e.Queues[i]
			if q.Seen && q.Declared && (len(kinds) == 0 || slices.Contains(kinds, q.Kind)) && !yield(q) {
				return
			}
		}
	}
}

// sees reports whether every queue of a kind was seen.
func (e *examination) sees(kind Kind) bool {
	return !slices.ContainsFunc(e.Queues, func(q Queue) bool { return q.Kind == kind && !q.Seen })
}

// list names the first queues.
func list(queues []*Queue) string {
	const most = 3
	var names []string
	for _, q := range queues[:min(most, len(queues))] {
		names = append(names, q.Name)
	}
	text := strings.Join(names, ", ")
	if len(queues) > most {
		text += fmt.Sprintf(" and %d more", len(queues)-most)
	}
	return text
}

// pattern returns an argument of `queues` that matches these queues.
func pattern(queues []*Queue) string {
	if len(queues) == 1 {
		return queues[0].Name
	}
	common := queues[0].Name
	for _, q := range queues[1:] {
		for !strings.HasPrefix(q.Name, common) {
			common = common[:len(common)-1]
		}
	}
	return "'" + common + "*'"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func wait(n int) string {
	if n == 1 {
		return "1 message waits"
	}
	return fmt.Sprintf("%d messages wait", n)
}

// keysWait says what a message that cannot be sent holds up.
func keysWait(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return ", and what has the same key waits"
	default:
		return fmt.Sprintf(", and what has the same %d keys waits", n)
	}
}

func them(n int) string {
	if n == 1 {
		return "it"
	}
	return "them"
}

func its(n int) string {
	if n == 1 {
		return "its"
	}
	return "their"
}

func theyWere(n int) string {
	if n == 1 {
		return "it was"
	}
	return "they were"
}

// cut shortens the text of an error.
func cut(text string) string {
	const most = 80
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}

// age writes how old something is.
func age(d time.Duration) string {
	if d > 2*time.Hour {
		d = d.Truncate(time.Hour)
	}
	return Short(d)
}

// Short writes a duration for people: 250ms, 12s, 1m30s, 4h, 3d.
func Short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", max(d.Milliseconds(), 0))
	case d < 2*time.Minute:
		d = d.Truncate(time.Second)
	case d < 2*day:
		d = d.Truncate(time.Minute)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
	return strings.ReplaceAll(strings.ReplaceAll(d.String(), "m0s", "m"), "h0m", "h")
}
