package leveret_test

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
	"github.com/leveretmq/leveret/pkg/topology"
)

// Trip is what a bicycle was hired for. Version 1 had whole minutes, in a field of another name.
type Trip struct {
	TripID  string  `json:"trip_id"`
	RiderID string  `json:"rider_id"` // an id, and nothing else about the person
	Seconds float64 `json:"seconds"`
}

func (t Trip) Validate() error {
	if t.Seconds <= 0 {
		return leveret.Errorf(leveret.InvalidArgument, "seconds: must be positive")
	}
	return nil
}

// TripEnded is kept for a year, up to 2 GB.
var TripEnded = leveret.NewEvent[Trip]("bicycles.trip-ended",
	leveret.Kept(365*24*time.Hour, 2_000_000_000),
	leveret.Older(tripOfVersion1))

// tripOfVersion1 converts what version 1 has sent, and returns nil for anything else.
func tripOfVersion1(body []byte) []byte {
	var old struct {
		Trip
		Minutes float64 `json:"minutes"`
	}
	if json.Unmarshal(body, &old) != nil || old.Minutes == 0 {
		return nil
	}
	old.Seconds = 60 * old.Minutes
	converted, err := json.Marshal(old.Trip)
	if err != nil {
		return nil
	}
	return converted
}

// Statistics reads what is kept. Billing subscribes as to any event.
var (
	Statistics = leveret.NewService("statistics", leveret.Reads(TripEnded))
	Billing    = leveret.NewService("billing", leveret.SubscribesTo(TripEnded))
)

func ExampleKept() {
	stream := Statistics.Topology(topology.Names{}, topology.Classic).Queues[0]
	fmt.Println(stream.Name, stream.Args["x-max-age"])

	h := leveret.NewHandlers(Billing, leveret.HandlersConfig{})
	TripEnded.Subscribe(h, func(_ context.Context, t Trip) error {
		fmt.Println(t.TripID, "took", t.Seconds, "s")
		return nil
	})
	leverettest.Deliver(context.Background(), h, TripEnded, Trip{}, leverettest.Body(`{"trip_id":"t-1","rider_id":"r-9","minutes":25}`))
	// Output:
	// bicycles.trip-ended.kept 31536000s
	// t-1 took 1500 s
}
