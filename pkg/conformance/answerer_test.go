package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func TestAnswererThatKeepsTheRules(t *testing.T) {
	t.Parallel()
	for _, r := range judge(t, Answerer, "", answererPeer("")) {
		require.Equal(t, Kept, r.State, "%+v", r)
	}
}

func TestAnswerersThatBreakOneRule(t *testing.T) {
	t.Parallel()
	wrong := []string{"A4: acks first", "A5: message_id", "A9: code", "A17: ends"}
	for _, r := range Rules(Answerer) {
		wrong = append(wrong, r.ID)
	}
	for _, w := range wrong {
		t.Run(w, func(t *testing.T) {
			t.Parallel()
			rule, _, _ := strings.Cut(w, ":")
			requireBroken(t, Answerer, rule, judge(t, Answerer, w, answererPeer(w)))
		})
	}
}

func answererPeer(wrong string) Client {
	return func(ctx context.Context, s Streams) error {
		p := &peer{wrong: wrong, queue: Ask, out: s.Out, asked: true}
		return again(ctx, s.URL, p.is("A17: ends"), p.work)
	}
}

// answerRequest handles one request.
func (p *peer) answerRequest(d amqp.Delivery) error {
	if p.is("A4: acks first") {
		_ = d.Ack(false)
	}
	if p.is("A2") {
		d.Acknowledger = nil
	}
	drop := func() error {
		if p.is("A2") || p.is("A4: acks first") {
			return nil
		}
		return d.Ack(false)
	}
	_, reply := d.Headers["leveret-instance"]
	if (reply || d.ContentType == problemType) && !p.is("A15") || !answerable(d.ReplyTo) && !p.is("A13") || p.is("A12") && d.ReplyTo == "" {
		if p.is("A12") && d.ReplyTo == "" {
			return d.Reject(false)
		}
		return drop()
	}
	var code, reason string
	body := d.Body
	if deadline, ok := notBefore(d.Headers["leveret-deadline"]); ok && time.Since(deadline) > 2*time.Second && !p.is("A14") {
		code = "deadline_exceeded"
	} else if d.Redelivered && !p.is("A17") {
		code, reason = "aborted", "outcome_unknown"
	} else if bad, ok := d.Headers["leveret-deadline"]; ok && p.is("A16") && bad == "soon" {
		code = "invalid_argument"
	} else {
		code = p.doRequest(body)
	}
	answer := amqp.Publishing{
		ContentType: "application/json", CorrelationId: d.CorrelationId, Headers: amqp.Table{"leveret-instance": "here/1"},
		Body: bytes.TrimPrefix(body, []byte("\ufeff")),
	}
	if answer.CorrelationId == "" && !p.is("A5: message_id") {
		answer.CorrelationId = d.MessageId
	}
	if code != "" {
		answer.ContentType = problemType
		answer.Body = fmt.Appendf(nil, `{"code": %q, "reason": %q}`, code, reason)
	}
	p.spoil(&answer, d, code)
	key := d.ReplyTo
	if p.is("A4") {
		key = "reply.someone.else"
	}
	if d.ReplyTo != "" {
		if err := p.ch.Publish("", key, p.is("A6"), false, answer); err != nil {
			return err
		}
	}
	return drop()
}

// spoil does to an answer what is wrong with the peer.
func (p *peer) spoil(answer *amqp.Publishing, d amqp.Delivery, code string) {
	switch p.wrong {
	case "A5":
		answer.CorrelationId = d.MessageId
	case "A7":
		answer.Headers = nil
	case "A8":
		if code == "" {
			answer.Body = []byte("done")
		}
	case "A9":
		answer.ContentType = "application/json"
	case "A9: code":
		answer.Body = bytes.ReplaceAll(answer.Body, []byte("failed_precondition"), []byte("E1234"))
	case "A10":
		answer.Body = bytes.ReplaceAll(answer.Body, []byte("invalid_argument"), []byte("internal"))
	}
}

func answerable(to string) bool {
	return to == "" || strings.HasPrefix(to, "amq.rabbitmq.reply-to.") || strings.HasPrefix(to, "amq.gen-") || strings.HasPrefix(to, "reply.")
}

// doRequest does the work, and returns the code of its failure.
func (p *peer) doRequest(body []byte) (code string) {
	if !utf8.Valid(body) {
		return "invalid_argument"
	}
	var asked *payload
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	if p.is("A11") {
		decoder.DisallowUnknownFields()
	}
	err := decoder.Decode(&asked)
	if err == nil && !errors.Is(decoder.Decode(&struct{}{}), io.EOF) {
		err = errors.New("more than one value")
	}
	switch {
	case err != nil || asked == nil:
		return "invalid_argument"
	case asked.Do == doFail:
		return "failed_precondition"
	case asked.Do == doFailNow:
		return "unavailable"
	case asked.Do == doWait:
		time.Sleep(time.Duration(asked.MS) * time.Millisecond)
	}
	_, _ = fmt.Fprintf(p.out, "{\"did\":%q}\n", asked.ID)
	return ""
}
