package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func TestSenderThatKeepsTheRules(t *testing.T) {
	t.Parallel()
	for _, r := range judge(t, Sender, "", senderPeer("")) {
		require.Equal(t, Kept, r.State, "%+v", r)
	}
}

func TestSendersThatBreakOneRule(t *testing.T) {
	t.Parallel()
	wrong := []string{"S6: missing", "S8: no confirms", "S12: lies"}
	for _, r := range Rules(Sender) {
		wrong = append(wrong, r.ID)
	}
	for _, w := range wrong {
		t.Run(w, func(t *testing.T) {
			t.Parallel()
			rule, _, _ := strings.Cut(w, ":")
			requireBroken(t, Sender, rule, judge(t, Sender, w, senderPeer(w)))
		})
	}
}

// A senderClient sends on the plain driver.
type senderClient struct {
	wrong   string
	url     string
	conn    *amqp.Connection
	ch      *amqp.Channel
	returns chan amqp.Return
	heard   chan amqp.Confirmation
	serial  int
}

func (c *senderClient) is(wrong string) bool { return c.wrong == wrong }

func senderPeer(wrong string) Client {
	return func(ctx context.Context, s Streams) error {
		c := &senderClient{wrong: wrong, url: s.URL}
		defer c.hangUp()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for line := range linesOf(ctx, s.In) {
			stop := context.AfterFunc(ctx, c.hangUp)
			id, err := c.order(line)
			stop()
			if errors.Is(err, errDies) {
				return err
			}
			if err != nil {
				fmt.Fprintf(s.Out, "{\"error\": {\"code\": \"unavailable\"}}\n")
				continue
			}
			fmt.Fprintf(s.Out, "{\"sent\": %q}\n", id)
		}
		return nil
	}
}

func (c *senderClient) hangUp() {
	if conn := c.conn; conn != nil {
		_ = conn.Close()
	}
}

func (c *senderClient) dial() error {
	if c.conn != nil && !c.conn.IsClosed() && !c.ch.IsClosed() {
		return nil
	}
	if c.conn != nil && c.is("S13") {
		return errDies
	}
	var err error
	if c.conn, err = amqp.DialConfig(c.url, amqp.Config{}); err != nil {
		return err
	}
	if c.ch, err = c.conn.Channel(); err != nil {
		return err
	}
	if c.is("S2") {
		if _, err = c.ch.QueueDeclare(Work, true, false, false, false, nil); err != nil {
			return err
		}
	}
	c.returns = c.ch.NotifyReturn(make(chan amqp.Return, 100))
	if c.is("S8: no confirms") {
		return nil
	}
	c.heard = c.ch.NotifyPublish(make(chan amqp.Confirmation, 100))
	return c.ch.Confirm(false)
}

func (c *senderClient) order(line string) (string, error) {
	var said struct{ Send, Publish json.RawMessage }
	if err := json.Unmarshal([]byte(line), &said); err != nil {
		return "", err
	}
	exchange, key, body, mandatory := "commands", Work, said.Send, true
	if said.Send == nil {
		exchange, key, body, mandatory = "events", Happened, said.Publish, c.is("S11")
	}
	c.serial++
	p := amqp.Publishing{
		MessageId: fmt.Sprint("message-", c.serial), DeliveryMode: amqp.Persistent, ContentType: "application/json", Body: body,
		Headers: amqp.Table{"x-request-id": "7", "x-delay": int64(0)},
	}
	switch c.wrong {
	case "S1":
		exchange, key = "", Work
	case "S3":
		p.Body = append([]byte("\ufeff"), body...)
	case "S4":
		mandatory = false
	case "S5":
		p.DeliveryMode = amqp.Transient
	case "S6":
		p.MessageId = "message"
	case "S6: missing":
		p.MessageId = ""
	case "S7":
		p.Headers = amqp.Table{"x-death": []any{}}
	}
	for {
		if err := c.dial(); err != nil {
			return "", err
		}
		confirm, err := c.ch.PublishWithDeferredConfirm(exchange, key, mandatory, false, p)
		if err != nil {
			return "", err
		}
		if c.is("S8") || c.is("S8: no confirms") {
			return p.MessageId, nil
		}
		ok := confirm.Wait()
		_, connected := <-c.heard // closed with the channel
		select {
		case _, really := <-c.returns:
			if really && !c.is("S10") {
				return "", errors.New("returned")
			}
		default:
		}
		switch {
		case ok, c.is("S9") && connected:
			return p.MessageId, nil
		case c.is("S12") && !connected:
			p.MessageId += "-again"
			continue
		case c.is("S12: lies") && !connected:
			return p.MessageId, nil
		}
		return "", errors.New("not confirmed")
	}
}
