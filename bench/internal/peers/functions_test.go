package peers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/leveretmq/leveret/bench/internal/peers"
	"github.com/leveretmq/leveret/pkg/leveret"
)

// What every peer pays for its payload.
func BenchmarkEncode(b *testing.B) {
	for _, size := range []int{256, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := peers.Payloads(size)(1)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := json.Marshal(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{256, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body, err := json.Marshal(peers.Payloads(size)(1))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				var p peers.Payload
				if err := json.Unmarshal(body, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What an id costs: Leveret and the raw driver make one for each message.
func BenchmarkID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = uuid.Must(uuid.NewV7()).String()
	}
}

// nowhere is a sender that drops messages.
type nowhere struct{}

func (nowhere) Send(context.Context, *leveret.Message) error { return nil }

// What a contract does before a message reaches the client: validate, encode, ids.
func BenchmarkContractSend(b *testing.B) {
	command := leveret.NewCommand[peers.Payload]("bench.work")
	p := peers.Payloads(256)(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := command.Send(b.Context(), nowhere{}, *p); err != nil {
			b.Fatal(err)
		}
	}
}

// What a worker does with a message beside the broker: middleware, deadline, telemetry without an SDK, decoding, verdict.
func BenchmarkProcess(b *testing.B) {
	command := leveret.NewCommand[peers.Payload]("bench.work")
	h := leveret.NewHandlers(leveret.NewService("bench", leveret.Handles(command)), leveret.HandlersConfig{})
	command.Handle(h, func(context.Context, peers.Payload) error { return nil })
	body, err := json.Marshal(peers.Payloads(256)(1))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if o := h.Process(b.Context(), leveret.NewMessage(b.Context(), command, body), nil); o.Verdict != leveret.VerdictAck {
			b.Fatal(o.Err)
		}
	}
}
