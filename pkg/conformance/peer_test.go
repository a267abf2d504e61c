package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leverettest"
)

// A peer is a client on the plain driver, with one thing wrong with it perhaps.
type peer struct {
	wrong string
	queue string
	seen  map[string]bool
	out   io.Writer
	ch    *amqp.Channel

	returns chan amqp.Return
	asked   bool // it answers requests
}

func (p *peer) is(wrong string) bool { return p.wrong == wrong }

// again runs a connection after another, until ctx ends.
func again(ctx context.Context, url string, once bool, serve func(context.Context, *amqp.Connection) error) error {
	for ctx.Err() == nil {
		conn, err := amqp.DialConfig(url, amqp.Config{})
		if err == nil {
			stop := context.AfterFunc(ctx, func() { conn.CloseDeadline(time.Now().Add(time.Second)) })
			err = serve(ctx, conn)
			stop()
			conn.CloseDeadline(time.Now().Add(time.Second))
		}
		if ctx.Err() == nil && (once || errors.Is(err, errDies)) {
			return err
		}
	}
	return nil
}

func workerPeer(wrong string) Client {
	return func(ctx context.Context, s Streams) error {
		p := &peer{wrong: wrong, queue: Work, seen: make(map[string]bool), out: s.Out}
		return again(ctx, s.URL, p.is("W28"), p.work)
	}
}

func (p *peer) work(_ context.Context, conn *amqp.Connection) error {
	var err error
	if p.ch, err = conn.Channel(); err != nil {
		return err
	}
	p.returns = p.ch.NotifyReturn(make(chan amqp.Return, 100))
	if err := p.ch.Confirm(false); err != nil {
		return err
	}
	if !p.is("W3") && !p.is("A3") {
		if err := p.ch.Qos(10, 0, false); err != nil {
			return err
		}
	}
	if p.is("W1") || p.is("A1") {
		if _, err := p.ch.QueueDeclare(p.queue, true, false, false, false, nil); err != nil {
			return err
		}
	}
	deliveries, err := p.ch.Consume(p.queue, "", p.is("W2") || p.is("A2"), false, false, false, nil)
	if err != nil {
		return err
	}
	for d := range deliveries {
		handle := p.handle
		if p.asked {
			handle = p.answerRequest
		}
		if err := handle(d); err != nil {
			return err
		}
	}
	return errors.New("the deliveries ended")
}

var errForNow, errForGood, errAsked, errDies = errors.New("for now"), errors.New("for good"), errors.New("asked for"), errors.New("it dies")

func (p *peer) handle(d amqp.Delivery) error {
	if p.is("W4") {
		_ = d.Ack(false)
	}
	attempt, ok := number(d.Headers["leveret-attempt"], p.is("W14"))
	var err error
	switch until, early := notBefore(d.Headers["leveret-not-before"]); {
	case p.is("W9") && !ok && d.Headers["leveret-attempt"] != nil:
		err = errForGood
	case p.is("W9: dies") && !ok && d.Headers["leveret-attempt"] != nil:
		return errDies
	case p.is("W9: dies again") && !ok && d.Headers["leveret-attempt"] != nil:
		return errors.New("leveret-attempt is no number")
	case early && time.Now().Before(until) && time.Until(until) < 366*24*time.Hour && !p.is("W26"):
		return p.putAside("retry.1s", d, nil)
	default:
		err = p.do(d)
	}
	switch {
	case p.is("W2") || p.is("W4"):
		return nil
	case err == nil:
		return d.Ack(false)
	case p.is("W12") && errors.Is(err, errForNow):
		return d.Nack(false, true)
	case p.is("W12: drops") && errors.Is(err, errForNow):
		return d.Ack(false)
	case (errors.Is(err, errForNow) || p.is("W23") && errors.Is(err, errAsked)) && (attempt < attempts || p.is("W22")):
		next := attempt + 1
		if p.is("W13") {
			next = attempt
		}
		return p.putAside("retry.1s", d, amqp.Table{"leveret-attempt": next, "leveret-error-code": "unavailable"})
	case p.is("rejects"):
		return d.Reject(false)
	default:
		more := amqp.Table{
			"leveret-failed-queue": p.queue, "leveret-failed-at": time.Now().UTC().Format(time.RFC3339Nano), "leveret-attempts": attempt,
			"leveret-error-code": "invalid_argument", "leveret-error-message": err.Error(), "leveret-service": "peer", "leveret-host": "here",
		}
		if p.is("W25") {
			delete(more, "leveret-failed-queue")
		}
		return p.putAside("dead-letters", d, more)
	}
}

func (p *peer) do(d amqp.Delivery) error {
	if _, reply := d.Headers["leveret-instance"]; (reply || d.ContentType == "application/problem+json") && !p.is("W11") {
		return errForGood
	}
	if p.is("W7") && d.MessageId == "" || p.is("W8") && d.Type != Work && d.Type != "" {
		return errForGood
	}
	body := d.Body
	if !p.is("W6") {
		body = bytes.TrimPrefix(body, []byte("\ufeff"))
	}
	var said *payload
	decoder := json.NewDecoder(bytes.NewReader(body))
	if p.is("W5") {
		decoder.DisallowUnknownFields()
	}
	err := decoder.Decode(&said)
	if err == nil && decoder.Decode(&struct{}{}) != io.EOF {
		err = errors.New("more than one value")
	}
	if err != nil || said == nil || !utf8.Valid(body) {
		if p.is("W10") {
			return errForNow
		}
		return errForGood
	}
	switch said.Do {
	case doFail:
		return errAsked
	case doFailNow:
		return errForNow
	case doWait:
		time.Sleep(time.Duration(said.MS) * time.Millisecond)
	}
	if p.seen[d.MessageId] && d.MessageId != "" && !p.is("W27") {
		return nil
	}
	p.seen[d.MessageId] = true
	_, err = fmt.Fprintf(p.out, "{\"did\":%q}\n", said.ID)
	return err
}

// putAside publishes a copy, and acks the message when that is confirmed.
func (p *peer) putAside(exchange string, d amqp.Delivery, more amqp.Table) error {
	copied := amqp.Publishing{
		Headers: p.copiedHeaders(d, more), ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: amqp.Persistent,
		Priority: d.Priority, CorrelationId: d.CorrelationId, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, AppId: d.AppId,
		Body: d.Body,
	}
	mandatory, key := true, p.queue
	switch p.wrong {
	case "W12: routing key":
		if exchange != "dead-letters" {
			key = d.RoutingKey
		}
	case "W16":
		mandatory = exchange == "dead-letters"
	case "W17":
		if exchange != "dead-letters" {
			copied.DeliveryMode = d.DeliveryMode
		}
	case "W18":
		var value any
		_ = json.Unmarshal(bytes.TrimPrefix(d.Body, []byte("\ufeff")), &value)
		copied.Body, _ = json.Marshal(value)
	case "W19":
		copied.AppId = ""
	case "W19: message_id":
		copied.MessageId += "-2"
	case "W21: expiration":
		copied.Expiration = d.Expiration
	case "W24":
		if exchange == "dead-letters" {
			copied.DeliveryMode = amqp.Transient
		}
	case "W24: not mandatory":
		mandatory = exchange != "dead-letters"
	}
	for {
		confirm, err := p.ch.PublishWithDeferredConfirm(exchange, key, mandatory, false, copied)
		if err != nil {
			return err
		}
		if p.is("W15") && exchange != "dead-letters" || p.is("W24: not confirmed") && exchange == "dead-letters" {
			break
		}
		ok := confirm.Wait()
		select {
		case <-p.returns:
			ok = ok && p.is("W16: acks")
		default:
		}
		if ok {
			break
		}
		if p.ch.IsClosed() {
			return amqp.ErrClosed
		}
	}
	return d.Ack(false)
}

// copiedHeaders are those of a copy.
func (p *peer) copiedHeaders(d amqp.Delivery, more amqp.Table) amqp.Table {
	headers := amqp.Table{}
	for name, value := range d.Headers {
		ours := strings.HasPrefix(name, "leveret-")
		theirs := brokersHeader(name) || p.is("W20: x-") && strings.HasPrefix(name, "x-")
		if (!theirs || p.is("W21") && name != "CC" || p.is("W21: CC") && name == "CC") && (ours || !p.is("W20")) && name != "leveret-attempt" {
			headers[name] = value
		}
	}
	if _, has := more["leveret-attempt"]; !has && d.Headers["leveret-attempt"] != nil {
		headers["leveret-attempt"] = d.Headers["leveret-attempt"]
	}
	maps.Copy(headers, more)
	return headers
}

func number(value any, strict bool) (n int64, ok bool) {
	switch v := value.(type) {
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 1 || strict {
			return 1, false
		}
		return n, true
	case int8, byte, int16, uint16, int32, uint32, int64:
		n, err := strconv.ParseInt(fmt.Sprint(v), 10, 64)
		if err != nil || n < 1 {
			return 1, false
		}
		return n, true
	default:
		return 1, false
	}
}

func notBefore(value any) (time.Time, bool) {
	switch v := value.(type) {
	case time.Time:
		return v, true
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		return t, err == nil
	default:
		return time.Time{}, false
	}
}

// linesOf returns the lines that come, until ctx ends.
func linesOf(ctx context.Context, in io.Reader) iter.Seq[string] {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return func(yield func(string) bool) {
		for {
			select {
			case line, ok := <-lines:
				if !ok || !yield(line) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// tooEarly are clients that are wrong because they do something before its time.
var tooEarly = []string{"W4", "L8", "A4: acks first", "S8", "C14"}

// judge runs the kit on a client.
func judge(t *testing.T, role Role, wrong string, client Client) map[string]Result {
	t.Helper()
	patience := 2 * time.Minute
	if slices.Contains(tooEarly, wrong) {
		patience = 20 * time.Minute // then that time is 5 seconds, and they are early on a busy machine, too
	}
	var mu sync.Mutex
	report, err := Run(t.Context(), Config{
		Role: role, Client: client, URL: leverettest.Broker(t), Patience: patience, Stderr: io.Discard,
		Progress: func(r Result) {
			mu.Lock()
			defer mu.Unlock()
			t.Log(time.Now().Format("05.000"), r.Rule, r.State, r.Why)
		},
	})
	require.NoError(t, err)
	results := make(map[string]Result)
	for _, r := range report.Results {
		results[r.Rule] = r
	}
	return results
}

// requireBroken: exactly one rule is broken, and the others are kept, or need it.
func requireBroken(t *testing.T, role Role, rule string, results map[string]Result) {
	t.Helper()
	for _, r := range Rules(role) {
		if r.ID == rule {
			require.Equal(t, Broken, results[r.ID].State, "%+v", results[r.ID])
			continue
		}
		require.NotEqual(t, Broken, results[r.ID].State, "%+v", results[r.ID])
	}
}
