package leverettest

import (
	"fmt"

	"github.com/leveretmq/leveret/pkg/leveret"
)

// A Contract is one whose messages carry a T: a *leveret.Command[T], a *leveret.Event[T], or a *leveret.Request[T, R].
type Contract[T any] interface {
	leveret.Contract
	Decode(body []byte) (T, error)
}

// Sent returns the payloads of a contract's messages that got through, in the order in which they did: of a [Recorder]
// the commands and events, of a [StubCaller] the requests. It panics where a body was not made by the contract's verbs,
// and is none of its payloads.
func Sent[T any](r interface{ Messages() []*leveret.Message }, c Contract[T]) []T {
	var payloads []T
	for _, m := range r.Messages() {
		if m.Contract != leveret.Contract(c) {
			continue
		}
		payload, err := c.Decode(m.Body)
		if err != nil {
			panic(fmt.Sprintf("leverettest: the message %s is no %s: %v", m.ID, c.Spec().Name, err))
		}
		payloads = append(payloads, payload)
	}
	return payloads
}
