package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/wire"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// In returns a sender that stores messages in tx, in the table leveret_outbox. They are sent by a [Relay] once tx is
// committed, and never if it is rolled back. Send returns nil once the message is stored; it is not safe for concurrent
// use, since a transaction is not.
//
// In does not know the service. A message of a contract that the service does not declare, with leveret.Publishes or
// leveret.Sends, is stored, and waits until a version runs that does; [Outbox.Status] names it, and [Outbox.Skip] removes it.
//
// The table must exist: [New] creates it.
func In(tx *sql.Tx) leveret.Sender { return sender{tx} }

type sender struct{ tx *sql.Tx }

// properties are what a row holds of a message beside its payload, as JSON.
type properties struct {
	Correlation  string          `json:"correlation_id,omitempty"`
	Conversation string          `json:"conversation_id,omitempty"`
	Causation    string          `json:"causation_id,omitempty"`
	SentAt       time.Time       `json:"sent_at"`
	Priority     uint8           `json:"priority,omitempty"`
	Headers      json.RawMessage `json:"headers,omitempty"`
	// ContentType is that of the body.
	ContentType string `json:"content_type,omitempty"`
	// Later says that the message was to be sent later: then it counts as sent when it is.
	Later bool `json:"later,omitempty"`
}

func (s sender) Send(ctx context.Context, m *leveret.Message) error {
	switch {
	case m == nil || m.Contract == nil:
		return leveret.Errorf(leveret.InvalidArgument, "a message without a contract cannot be sent")
	case s.tx == nil:
		return leveret.Errorf(leveret.InvalidArgument, "an outbox needs a transaction")
	}
	spec := m.Contract.Spec()
	if spec.Kind == leveret.KindRequest {
		return leveret.Errorf(leveret.InvalidArgument, "%s is a request: requests are called, not sent", spec.Name)
	}
	if err := s.store(ctx, m, spec); err != nil {
		return fmt.Errorf("%s %s: store the message in the outbox: %w", spec.Name, m.ID, err)
	}
	return nil
}

func (s sender) store(ctx context.Context, m *leveret.Message, spec leveret.Spec) error {
	if err := m.CheckHeaders(); err != nil {
		return err
	}
	body, err := m.Encode()
	if err != nil {
		return err
	}
	if body == nil {
		body = []byte{} // not NULL
	}
	var key string
	if spec.Key != nil {
		if key, err = spec.Key(m); err != nil {
			return err
		}
	}
	switch {
	case !wire.IsStorable(key):
		return leveret.Errorf(leveret.InvalidArgument, "the key %q is not text that a database can hold", key)
	case !m.SendAt.IsZero() && checkTime(m.SendAt) != nil:
		return checkTime(m.SendAt)
	case m.ID == "" || len(m.ID) > 255:
		return leveret.Errorf(leveret.InvalidArgument, "the message id has %d bytes; it must have 1 to 255", len(m.ID))
	case !wire.IsStorable(m.ID):
		return leveret.Errorf(leveret.InvalidArgument, "the message id %q is not text that a database can hold", m.ID)
	}
	headers, err := encodeHeaders(m.Headers)
	if err != nil {
		return err
	}
	text, err := json.Marshal(properties{m.CorrelationID, m.ConversationID, m.CausationID, m.SentAt, m.Priority, headers, spec.ContentType(), !m.SendAt.IsZero()})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return leveret.Errorf(leveret.CodeOf(err), "%w", err)
	}
	_, err = s.tx.ExecContext(ctx, `INSERT INTO leveret_outbox (slot, order_key, message_id, contract, body, properties, since, due_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		slotOf(key, time.Now()), key, m.ID, spec.Name, body, string(text), sinceOf(m.SendAt), dueAt(m.SendAt))
	if err != nil {
		return leveret.Errorf(leveret.Unavailable, "%w", err)
	}
	return nil
}

// checkTime refuses a time that somebody forgot to set.
func checkTime(t time.Time) error {
	if t.Unix() < 0 {
		return leveret.Errorf(leveret.InvalidArgument, "the time to send it is %s; it must not be before 1970", t.UTC().Format(time.RFC3339))
	}
	return nil
}

// dueAt is a time as the table has it.
func dueAt(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return min(max(t.Unix(), 0), aside/1_000_000-1)*1_000_000 + int64(max(t.Nanosecond()/1000, 1))
}

// sinceOf returns from when on a message can be sent.
func sinceOf(due time.Time) int64 { return max(time.Now().UnixMicro(), dueAt(due)) }

// slotOf returns the slot of a message: that of its key. Those without a key that are stored one after the other are in the same
// slot, so that they are read and deleted where they are side by side in the table.
func slotOf(key string, now time.Time) int {
	if key == "" {
		return int(now.UnixMilli() / 128 % slots)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum32() % slots)
}

// message returns the message of a row.
func (r *row) message(contract leveret.Contract) (*leveret.Message, error) {
	var p properties
	if err := json.Unmarshal([]byte(r.properties), &p); err != nil {
		return nil, leveret.Errorf(leveret.DataLoss, "the properties of the row cannot be read: %w", err)
	}
	if now := contract.Spec().ContentType(); p.ContentType != "" && p.ContentType != now {
		return nil, leveret.Errorf(leveret.DataLoss, "the row holds %s, and the contract's messages are %s now", p.ContentType, now)
	}
	headers, err := decodeHeaders(p.Headers)
	if err != nil {
		return nil, leveret.Errorf(leveret.DataLoss, "the headers of the row cannot be read: %w", err)
	}
	if p.Later {
		p.SentAt = time.Now()
	}
	return &leveret.Message{
		Contract: contract, ID: r.id, CorrelationID: p.Correlation, ConversationID: p.Conversation, CausationID: p.Causation,
		SentAt: p.SentAt, Priority: p.Priority, Headers: headers, Body: r.body,
	}, nil
}
