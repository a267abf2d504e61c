package deadletter

import "github.com/leveretmq/leveret/pkg/rabbit"

// A holder is a channel, and what it holds: only their number, and marks of groups that keep their order when they go
// back.
type holder struct {
	channel *rabbit.Channel
	held    int
	last    uint64 // the last delivery tag
	asked   uint64 // those from here on were asked for, one by one
	late    int    // how many were asked for at the end; they are not among the held
	marks   []mark

	acks  []uint64 // acks that wait to be sent together
	acked int
	known int // how many acks the queue has taken in
}

// A mark is the end of a group of messages that one consumer got.
type mark struct {
	tag  uint64
	held int // up to there
}

func (h *holder) hold(tag uint64) {
	if h.asked > 0 && tag >= h.asked {
		h.border()
	}
	h.held++
	h.last = max(h.last, tag)
	if h.held-h.marked() >= together {
		h.border()
	}
}

// border ends the group: what is held from here on belongs to another consumer.
func (h *holder) border() {
	switch n := len(h.marks); {
	case h.held == h.marked():
	case n > 0 && h.marks[n-1].tag == h.last: // one of an earlier group was held late
		h.marks[n-1].held = h.held
	default:
		h.marks = append(h.marks, mark{h.last, h.held})
	}
}

func (h *holder) marked() int {
	if len(h.marks) == 0 {
		return 0
	}
	return h.marks[len(h.marks)-1].held
}

// ack notes an ack, and reports whether it is time to send all that wait.
func (h *holder) ack(tag uint64) bool {
	h.acked++
	h.acks = append(h.acks, tag)
	return len(h.acks) >= ackTogether
}

func (h *holder) sendAcks() error {
	acks, together := h.acks, h.held == 0
	if h.acks = h.acks[:0]; len(acks) > 0 && together {
		acks = acks[len(acks)-1:]
	}
	for _, tag := range acks {
		if err := h.channel.Ack(tag, together); err != nil {
			return err //nolint:wrapcheck // the caller has a better one
		}
	}
	return nil
}
