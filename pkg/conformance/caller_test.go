package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func TestCallerThatKeepsTheRules(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"", "own queue", "named queue"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for _, r := range judge(t, Caller, how, callerPeer(how)) {
				require.Equal(t, Kept, r.State, "%+v", r)
			}
		})
	}
}

func TestCallersThatBreakOneRule(t *testing.T) {
	t.Parallel()
	wrong := []string{"C5: missing", "C5: not answered", "C6: same", "C7: too long", "C14: code"}
	for _, r := range Rules(Caller) {
		wrong = append(wrong, r.ID)
	}
	for _, w := range wrong {
		t.Run(w, func(t *testing.T) {
			t.Parallel()
			rule, _, _ := strings.Cut(w, ":")
			requireBroken(t, Caller, rule, judge(t, Caller, w, callerPeer(w)))
		})
	}
}

// A callerClient makes requests on the plain driver.
type callerClient struct {
	wrong string
	url   string
	dies  context.CancelCauseFunc

	writing sync.Mutex
	out     io.Writer

	mu      sync.Mutex
	conn    *amqp.Connection
	ch      *amqp.Channel
	replyTo string
	serial  int
	waiting []*waitingCall
}

// A waitingCall is a call that has no answer yet.
type waitingCall struct {
	id      string
	ch      *amqp.Channel      // on which it was made
	answers chan amqp.Delivery // closed when the connection is lost
	returns chan struct{}
}

func (c *callerClient) is(wrong string) bool { return c.wrong == wrong }

func callerPeer(wrong string) Client {
	return func(ctx context.Context, s Streams) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		c := &callerClient{wrong: wrong, url: s.URL, out: s.Out, dies: cancel}
		var calls sync.WaitGroup
		defer calls.Wait()
		defer c.hangUp()
		for line := range linesOf(ctx, s.In) {
			calls.Go(func() { c.make(ctx, line) })
		}
		if err := context.Cause(ctx); errors.Is(err, errDies) {
			return err
		}
		return nil
	}
}

func (c *callerClient) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.CloseDeadline(time.Now().Add(time.Second))
	}
}

// failure is how a call fails.
type failure struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

func (c *callerClient) make(ctx context.Context, line string) {
	var said struct {
		Call    json.RawMessage `json:"call"`
		Timeout int64           `json:"timeout_ms"`
	}
	var asked payload
	if json.Unmarshal([]byte(line), &said) != nil || json.Unmarshal(said.Call, &asked) != nil {
		return
	}
	reply, failed := c.call(ctx, said.Call, time.Duration(said.Timeout)*time.Millisecond)
	answer := map[string]any{"id": asked.ID, "reply": reply}
	if failed != nil {
		answer = map[string]any{"id": asked.ID, "error": failed}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		text = fmt.Appendf(nil, `{"id": %q, "error": {"code": "internal"}}`, asked.ID)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	fmt.Fprintf(c.out, "%s\n", text)
}

func (c *callerClient) call(ctx context.Context, body []byte, timeout time.Duration) (json.RawMessage, *failure) {
	unavailable := &failure{Code: "unavailable"}
	waits := timeout
	if c.is("C14") {
		waits /= 10
	}
	timer := time.NewTimer(waits)
	defer timer.Stop()
	for first := true; ; first = false {
		w, err := c.publish(body, timeout)
		if err != nil {
			return nil, unavailable
		}
		select {
		case d, ok := <-w.answers:
			if ok {
				return c.read(d)
			}
			if c.is("C19") && first {
				continue
			}
			return nil, unavailable
		case <-w.returns:
			if c.is("C13") { // as if it had waited for an answer
				return nil, &failure{Code: "deadline_exceeded"}
			}
			return nil, unavailable
		case <-timer.C:
			c.forget(w)
			if c.is("C14: code") {
				return nil, unavailable
			}
			return nil, &failure{Code: "deadline_exceeded"}
		case <-ctx.Done():
			return nil, &failure{Code: "canceled"}
		}
	}
}

func (c *callerClient) publish(body []byte, timeout time.Duration) (*waitingCall, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.dial(); err != nil {
		return nil, err
	}
	c.serial++
	w := &waitingCall{id: uuid.NewString(), ch: c.ch, answers: make(chan amqp.Delivery, 1), returns: make(chan struct{}, 1)}
	key, mandatory := Ask, true
	p := amqp.Publishing{
		ReplyTo: c.replyTo, ContentType: "application/json", Expiration: strconv.FormatInt(timeout.Milliseconds()*3/4, 10),
		Headers: amqp.Table{}, Body: body,
	}
	switch c.wrong {
	case "C1":
		key = "conformance.asks"
	case "C3":
		p.Body = append([]byte("\ufeff"), body...)
	case "C4":
		mandatory = false
	case "C6":
		w.id = fmt.Sprintf("%032d", c.serial)
	case "C6: same":
		w.id = "f3b9e2d41-always-the-same"
	case "C7":
		p.Expiration = ""
	case "C7: too long":
		p.Expiration = strconv.FormatInt(timeout.Milliseconds(), 10)
	case "C8":
		p.Headers["x-death"] = []any{}
	}
	p.CorrelationId = w.id
	c.waiting = append(c.waiting, w)
	return w, c.ch.Publish("requests", key, mandatory, false, p)
}

// dial connects, and starts to listen for answers.
func (c *callerClient) dial() (err error) {
	if c.conn != nil && !c.conn.IsClosed() && !c.ch.IsClosed() {
		return nil
	}
	if c.conn, err = amqp.DialConfig(c.url, amqp.Config{}); err != nil {
		return err
	}
	if c.ch, err = c.conn.Channel(); err != nil {
		return err
	}
	if c.is("C2") {
		if _, err = c.ch.QueueDeclare(Ask, true, false, false, false, nil); err != nil {
			return err
		}
	}
	queue, name, exclusive := directReply, "", true
	switch c.wrong {
	case "own queue":
		queue = ""
	case "named queue":
		name, queue = "reply.peer."+uuid.NewString(), ""
	case "C5":
		name, queue, exclusive = "reply.peer", "", false
	case "C5: not answered":
		name, queue = "answers-"+uuid.NewString(), ""
	}
	if queue == "" {
		q, err := c.ch.QueueDeclare(name, !exclusive, false, exclusive, false, nil)
		if err != nil {
			return err
		}
		queue = q.Name
	}
	answers, err := c.ch.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	c.replyTo = queue
	if c.is("C5: missing") {
		c.replyTo = ""
	}
	go c.listen(c.ch, answers, c.ch.NotifyReturn(make(chan amqp.Return, 100)))
	return nil
}

// listen gives answers to the calls that wait for them, until the connection is lost.
func (c *callerClient) listen(ch *amqp.Channel, answers <-chan amqp.Delivery, returns <-chan amqp.Return) {
	for answers != nil || returns != nil {
		select {
		case d, ok := <-answers:
			if !ok {
				answers = nil
				continue
			}
			if w := c.take(d.CorrelationId, c.is("C15")); w != nil {
				w.answers <- d
			}
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			if w := c.take(r.CorrelationId, false); w != nil {
				w.returns <- struct{}{}
			}
		}
	}
	if c.is("C18") {
		c.dies(errDies)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(w *waitingCall) bool {
		lost := w.ch == ch // the others are made on the connection that came after it
		if lost {
			close(w.answers)
		}
		return lost
	})
}

// take returns the call that an answer belongs to, which does not wait any more.
func (c *callerClient) take(id string, anyone bool) *waitingCall {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.waiting, func(w *waitingCall) bool { return w.id == id })
	switch {
	case anyone && i < 0 && len(c.waiting) > 0, c.is("C16") && i >= 0:
		i = 0
	case i < 0:
		return nil
	}
	w := c.waiting[i]
	c.waiting = slices.Delete(c.waiting, i, i+1)
	return w
}

func (c *callerClient) forget(w *waitingCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(other *waitingCall) bool { return w == other })
}

// read reads an answer.
func (c *callerClient) read(d amqp.Delivery) (json.RawMessage, *failure) {
	body := bytes.TrimPrefix(d.Body, []byte("\ufeff"))
	switch {
	case d.ContentType == problemType && !c.is("C10"):
		var got struct{ Code, Reason json.RawMessage }
		var f failure
		_ = json.Unmarshal(body, &got)
		_ = json.Unmarshal(got.Code, &f.Code)
		_ = json.Unmarshal(got.Reason, &f.Reason)
		if !isCode(f.Code) && !c.is("C11") {
			f.Code = "unknown"
		}
		return nil, &f
	case c.is("C9") && d.ContentType != "application/json":
		return nil, &failure{Code: "internal"}
	case !json.Valid(body) || !utf8.Valid(body):
		if c.is("C12") {
			return json.RawMessage("null"), nil
		}
		return nil, &failure{Code: "internal"}
	case c.is("C17"):
		var value any
		_ = json.Unmarshal(body, &value)
		body, _ = json.Marshal(value)
	}
	return body, nil
}
