package cli

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/deadletter"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// letterView is a dead letter under -o json.
type letterView struct {
	failedView

	Host        string `json:"host,omitempty"`
	Type        string `json:"type,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Correlation string `json:"correlation_id,omitempty"`
	Headers     any    `json:"headers"`
	// One of these: the payload if it is JSON in UTF-8, nested no deeper than maxNesting, else its text if it is UTF-8,
	// else its bytes.
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadText   *string         `json:"payload_text,omitempty"`
	PayloadBase64 *string         `json:"payload_base64,omitempty"`

	body []byte // the payload with its white space
}

// views returns letters as they are shown, and reports secrets that are.
func (d *discretion) views(letters []*deadletter.Letter) ([]letterView, error) {
	all := make([]letterView, len(letters))
	for i, l := range letters {
		body, err := d.letter(l)
		if err != nil {
			return nil, err
		}
		all[i] = viewOf(l, body)
	}
	d.log()
	return all, nil
}

func viewOf(l *deadletter.Letter, body []byte) letterView {
	v := letterView{
		failedView: failedViewOf(l, ""), Host: l.Host,
		Type: l.Type, ContentType: l.ContentType, Correlation: l.CorrelationId, Headers: plainHeaders(ownHeaders(l.Headers), maxNesting),
		body: withoutMark(body),
	}
	switch text := string(body); {
	case json.Valid(v.body) && utf8.Valid(body) && nesting(v.body) <= maxNesting:
		v.Payload = json.RawMessage(compact(v.body))
	case utf8.ValidString(text):
		v.PayloadText = &text
	default:
		encoded := base64.StdEncoding.EncodeToString(body)
		v.PayloadBase64 = &encoded
	}
	return v
}

// ownHeaders returns the headers without those that count how often the letter was read.
func ownHeaders(h rabbit.Table) rabbit.Table {
	h = maps.Clone(h)
	delete(h, "x-delivery-count")
	delete(h, "x-acquired-count")
	return h
}

// plainHeaders converts AMQP values to what JSON can hold; what is nested deeper than some levels, to text.
func plainHeaders(v any, levels int) any {
	if levels == 0 {
		return fmt.Sprint(v)
	}
	switch v := v.(type) {
	case rabbit.Table:
		object := make(map[string]any, len(v))
		for name, value := range v {
			object[name] = plainHeaders(value, levels-1)
		}
		return object
	case []any:
		items := make([]any, len(v))
		for i, item := range v {
			items[i] = plainHeaders(item, levels-1)
		}
		return items
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case nil, bool, string, int8, int16, int32, int64, int, uint8, uint16, uint32:
		return v
	default:
		return fmt.Sprint(v)
	}
}

// printLetter prints one letter in full, for a person.
func (a *App) printLetter(v letterView) error {
	var b strings.Builder
	painted := func(label, value string, paint term.Paint) {
		if value != "" {
			fmt.Fprintf(&b, "%s %s\n", a.out.Paint(term.Dim, fmt.Sprintf("%-14s", label)), a.out.Paint(paint, term.Printable(value)))
		}
	}
	line := func(label, value string) { painted(label, value, "") }
	moment := func(label string, at *time.Time) {
		if at != nil {
			line(label, at.Format(time.RFC3339)+" ("+ageText(*at)+" ago)")
		}
	}
	fmt.Fprintf(&b, "%s\n", a.out.Paint(term.Bold, term.OneLine(cmp.Or(v.ID, v.Fingerprint))))
	line("fingerprint", v.Fingerprint)
	line("contract", v.Contract)
	line("queue", v.Queue)
	reason := cell(v.Code, v.Reason, v.Delayed, term.Red)
	painted("why", reason.Text, reason.Paint)
	if v.Delayed { // and in retry.lost
		line("lost", notFailed+"; its queue was gone when it was due")
	}
	line("error", strings.ReplaceAll(v.Error, "\n", "\n"+strings.Repeat(" ", 15)))
	line("attempts", countText(v.Attempts))
	line("replayed", countText(v.Replayed))
	moment("failed", v.FailedAt)
	moment("first failed", v.FirstFailedAt)
	moment("sent", v.SentAt)
	line("service", v.Service)
	line("host", v.Host)
	line("correlation id", v.Correlation)
	if v.Type != v.Contract {
		line("type", v.Type)
	}
	line("content type", v.ContentType)
	if headers, ok := v.Headers.(map[string]any); ok && len(headers) > 0 {
		fmt.Fprintf(&b, "\n%s\n", a.out.Paint(term.Dim, "headers"))
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			text, isText := headers[name].(string)
			if !isText {
				encoded, err := json.Marshal(headers[name])
				if err != nil {
					return fmt.Errorf("the header %s: %w", term.OneLine(name), err)
				}
				text = string(encoded)
			}
			fmt.Fprintf(&b, "  %s: %s\n", term.OneLine(name), term.OneLine(text))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", a.out.Paint(term.Dim, "payload"))
	if _, err := a.IO.Out.Write([]byte(b.String())); err != nil {
		return err
	}
	switch {
	case v.Payload != nil:
		return a.writeBody(v.body, true)
	case v.PayloadText != nil:
		return a.Printf("%s\n", term.Printable(*v.PayloadText))
	default:
		return a.Printf("%d bytes that are not text; -o json prints them in base64\n", len(v.body))
	}
}
