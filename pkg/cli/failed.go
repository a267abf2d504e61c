package cli

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
)

// failedView is a message that failed, under -o json: a dead letter, or one that waits for a retry.
type failedView struct {
	ID            string     `json:"id"`
	Fingerprint   string     `json:"fingerprint"`
	Queue         string     `json:"queue"`
	Tier          string     `json:"tier,omitempty"` // in which it waits
	Service       string     `json:"service,omitempty"`
	Contract      string     `json:"contract,omitempty"`
	Code          string     `json:"code,omitempty"`
	Reason        string     `json:"reason,omitempty"`
	Error         string     `json:"error,omitempty"`
	Delayed       bool       `json:"delayed,omitempty"`
	Attempts      int        `json:"attempts"`
	Replayed      int        `json:"replayed"`
	SentAt        *time.Time `json:"sent_at,omitempty"`
	FirstFailedAt *time.Time `json:"first_failed_at,omitempty"`
	FailedAt      *time.Time `json:"failed_at,omitempty"`
	DueAt         *time.Time `json:"due_at,omitempty"` // when it goes back from the tier
}

// failedViewOf returns a message as it is shown; tier is the retry tier in which it waits, or "".
func failedViewOf(l *deadletter.Letter, tier string) failedView {
	return failedView{
		ID: l.ID, Fingerprint: l.Fingerprint(), Queue: l.Queue, Tier: tier, Service: l.Service, Contract: l.Contract,
		Code: l.Code, Reason: l.Reason, Error: l.Error, Delayed: l.Delayed, Attempts: l.Attempts, Replayed: l.Replayed,
		SentAt: momentOf(l.SentAt), FirstFailedAt: momentOf(l.FirstFailedAt), FailedAt: momentOf(l.FailedAt), DueAt: momentOf(l.DueAt),
	}
}

// failedGroup is a line of `dlq ls` and of `retry ls`: messages of one queue that failed for the same reason.
type failedGroup struct {
	Queue     string     `json:"queue"`
	LostQueue string     `json:"lost_queue,omitempty"` // of retry.lost: the work queue that was gone
	Service   string     `json:"service,omitempty"`
	Contract  string     `json:"contract,omitempty"`
	Code      string     `json:"code"`
	Reason    string     `json:"reason"`
	Error     string     `json:"error"` // of the newest
	Delayed   bool       `json:"delayed,omitempty"`
	Rest      bool       `json:"rest,omitempty"` // other errors, too many to list each
	Count     int        `json:"count"`          // of those read
	Seen      *int       `json:"seen,omitempty"` // of dead letters: how many of the queue were read
	Total     *int       `json:"total,omitempty"`
	Oldest    *time.Time `json:"oldest_at,omitempty"`
	Newest    *time.Time `json:"newest_at,omitempty"`
	FirstDue  *time.Time `json:"first_due_at,omitempty"` // of retries: when the first goes back
	LastDue   *time.Time `json:"last_due_at,omitempty"`
}

func (a *App) failedGroupOf(g deadletter.Group) failedGroup {
	return failedGroup{
		Queue: g.Queue, Service: a.consumer(g.Queue), Contract: g.Contract,
		Code: g.Code, Reason: g.Reason, Error: g.Error, Delayed: g.Delayed, Rest: g.Rest, Count: g.Count,
		Oldest: momentOf(g.Oldest), Newest: momentOf(g.Newest), FirstDue: momentOf(g.FirstDue), LastDue: momentOf(g.LastDue),
	}
}

// notFailed is what is shown in place of an error.
const notFailed = "sent to be handled later"

// text is the error of the group, for people.
func (g *failedGroup) text() string {
	text := g.Error
	switch {
	case g.Delayed:
		text = notFailed
	case g.Rest:
		text = "other errors, too many to list each; the newest: " + text
	}
	if g.LostQueue != "" {
		return strings.TrimSuffix("the queue "+g.LostQueue+" was gone: "+text, ": ")
	}
	return text
}

// text is the error of the message, for people.
func (v *failedView) text() string {
	if v.Delayed {
		return notFailed
	}
	return v.Error
}

// cell is why messages failed, in a word. What waits for a retry may yet succeed.
func cell(code, reason string, delayed bool, paint term.Paint) term.Cell {
	if delayed {
		return term.Painted("delayed", term.Yellow)
	}
	return term.Painted(why(code, reason), paint)
}

// why is the reason of a failure in a word.
func why(code, reason string) string {
	switch {
	case code == "":
		return reason
	case reason == "":
		return code
	default:
		return code + "/" + reason
	}
}

// failedTable lists messages, one per line. Those of several queues have a column for that, those of several contracts of
// one queue, too, and what waits for a retry has one for when it goes back.
func failedTable(all []failedView, several, waiting bool) *term.Table {
	columns, paint := []string{"ID", "AGE#", "ATTEMPTS#", "REPLAYED#", "WHY", "ERROR~"}, term.Red
	if waiting {
		columns, paint = []string{"ID", "AGE#", "ATTEMPTS#", "REPLAYED#", "WHY", "DUE#", "ERROR~"}, term.Yellow
	}
	if several {
		columns = append([]string{"QUEUE"}, columns...)
	}
	mixed := !several && slices.ContainsFunc(all, func(v failedView) bool { return v.Contract != all[0].Contract })
	if mixed {
		columns = append([]string{"CONTRACT"}, columns...)
	}
	t := term.NewTable(columns...)
	same := map[string]int{}
	for _, v := range all {
		same[v.name()]++
	}
	for _, v := range all {
		name, since := v.name(), v.FailedAt
		if same[name] > 1 && !waiting { // every command would refuse it
			name = v.Fingerprint
		}
		if v.Delayed {
			since = v.SentAt
		}
		cells := []term.Cell{
			term.Plain(name), term.Plain(agePointer(since)), term.Plain(countText(v.Attempts)), term.Plain(strconv.Itoa(v.Replayed)),
			cell(v.Code, v.Reason, v.Delayed, paint),
		}
		if waiting {
			cells = append(cells, term.Plain(inText(v.DueAt)))
		}
		if mixed {
			cells = append([]term.Cell{term.Painted(v.Contract, term.Bold)}, cells...)
		}
		if several {
			cells = append([]term.Cell{term.Painted(v.Queue, term.Bold)}, cells...)
		}
		t.Add(append(cells, term.Plain(v.text()))...)
	}
	return t
}

// name is how a letter is named on a command line: by its id, or by its fingerprint if it has none that a person could
// copy.
func (v *failedView) name() string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`$\\*?&|;<>(){}[]!#~", r) }
	if v.ID == "" || strings.HasPrefix(v.ID, "-") || strings.ContainsFunc(v.ID, odd) {
		return v.Fingerprint
	}
	return v.ID
}

func momentOf(t time.Time) *time.Time {
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 { // JSON has no others
		return nil
	}
	t = t.UTC()
	return &t
}

func agePointer(at *time.Time) string {
	if at == nil {
		return ""
	}
	return ageText(*at)
}

func ageText(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	seconds := max(time.Since(at).Seconds(), 0)
	return secondsText(&seconds)
}

// inText is in how long something will be.
func inText(at *time.Time) string {
	if at == nil {
		return ""
	}
	left := time.Until(*at).Seconds()
	if left <= 0 {
		return "now"
	}
	return secondsText(&left)
}

func countText(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
