package leverettest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"
)

// What is to be tested: the shipping service sends a parcel for each order, once it knows what it costs.
var (
	OrderPlaced = leveret.NewEvent[Order]("order.placed")
	ParcelSent  = leveret.NewEvent[Parcel]("shipping.sent")
	GetRate     = leveret.NewRequest[Parcel, Rate]("carrier.rate")

	Service = leveret.NewService("shipping",
		leveret.SubscribesTo(OrderPlaced), leveret.Calls(GetRate), leveret.Publishes(ParcelSent))
)

type Order struct {
	ID    string `json:"order_id"`
	Grams int    `json:"grams"`
}

func (o Order) Validate() error {
	if o.Grams <= 0 {
		return errors.New("grams: must be positive")
	}
	return nil
}

type Parcel struct {
	OrderID string `json:"order_id"`
	Grams   int    `json:"grams"`
}

type Rate struct {
	Cents int `json:"cents"`
}

type Shipping struct {
	sender leveret.Sender
	caller leveret.Caller
}

func (s Shipping) Register(h *leveret.Handlers) { OrderPlaced.Subscribe(h, s.OnOrderPlaced) }

func (s Shipping) OnOrderPlaced(ctx context.Context, o Order) error {
	parcel := Parcel{OrderID: o.ID, Grams: o.Grams}
	rate, err := GetRate.Call(ctx, s.caller, parcel)
	if err != nil {
		return fmt.Errorf("rate of order %s: %w", o.ID, err)
	}
	if rate.Cents > 10_000 {
		return leveret.Errorf(leveret.FailedPrecondition, "order %s is too dear to ship", o.ID)
	}
	return ParcelSent.Publish(ctx, s.sender, parcel)
}

// A handler's unit test: no broker, microseconds. In a test, t.Context() is the context.
func Example() {
	ctx := context.Background()

	rec := &leverettest.Recorder{Service: Service}   // takes what the handler sends
	rep := &leverettest.StubCaller{Service: Service} // answers what the handler asks
	leverettest.Answer(rep, GetRate, func(_ context.Context, p Parcel) (Rate, error) {
		return Rate{Cents: p.Grams}, nil
	})

	h := leveret.NewHandlers(Service, leveret.HandlersConfig{})
	Shipping{sender: rec, caller: rep}.Register(h) // as the program does

	got := leverettest.Deliver(ctx, h, OrderPlaced, Order{ID: "o-1", Grams: 500})
	fmt.Println(got.Verdict, got.Err)
	fmt.Println("asked", leverettest.Sent(rep, GetRate))
	fmt.Println("sent", leverettest.Sent(rec, ParcelSent))

	got = leverettest.Deliver(ctx, h, OrderPlaced, Order{ID: "o-2", Grams: 20_000})
	fmt.Println(got.Verdict, got.Err)

	// Output:
	// ack <nil>
	// asked [{o-1 500}]
	// sent [{o-1 500}]
	// dead_letter failed_precondition: order o-2 is too dear to ship
}

// handlers is what a test's setup does.
func handlers(s Shipping) *leveret.Handlers {
	h := leveret.NewHandlers(Service, leveret.HandlersConfig{})
	s.Register(h)
	return h
}

func cheap(context.Context, Parcel) (Rate, error) { return Rate{Cents: 1}, nil }

func ExampleDeliver() {
	ctx := context.Background()
	rec, rep := &leverettest.Recorder{}, &leverettest.StubCaller{}
	leverettest.Answer(rep, GetRate, cheap)
	h := handlers(Shipping{rec, rep})

	// What Validate refuses, and what is not even JSON, never reaches the handler.
	got := leverettest.Deliver(ctx, h, OrderPlaced, Order{ID: "o-1", Grams: -1})
	fmt.Println(got.Verdict, got.Err)
	got = leverettest.Deliver(ctx, h, OrderPlaced, Order{}, leverettest.Body(`{"order_id":"o-1","grams":"heavy"}`))
	fmt.Println(got.Verdict, got.Err)

	// The last attempt that the retry policy allows, while the other service is down.
	leverettest.Answer(rep, GetRate, func(context.Context, Parcel) (Rate, error) { return Rate{}, leveret.ErrUnroutable })
	order := Order{ID: "o-1", Grams: 500}
	got = leverettest.Deliver(ctx, h, OrderPlaced, order, leverettest.Attempt(4))
	fmt.Println("attempt", got.Message.Attempt, got.Verdict, "after", got.Delay)
	got = got.Again(ctx)
	fmt.Println("attempt", got.Message.Attempt, got.Verdict)

	// Output:
	// dead_letter invalid_argument: grams: must be positive
	// dead_letter invalid_argument: grams: must be a JSON integer (int), not a string
	// attempt 4 retry after 10m0s
	// attempt 5 dead_letter
}

func ExampleCall() {
	h := leveret.NewHandlers(leveret.NewService("carrier", leveret.Answers(GetRate)), leveret.HandlersConfig{})
	GetRate.Answer(h, func(_ context.Context, p Parcel) (Rate, error) {
		if p.Grams > 30_000 {
			return Rate{}, leveret.Errorf(leveret.OutOfRange, "%d g is too heavy", p.Grams)
		}
		return Rate{Cents: 300 + p.Grams/10}, nil
	})

	got := leverettest.Call(context.Background(), h, GetRate, Parcel{Grams: 500})
	fmt.Println(got.Reply.Cents, got.Err)
	got = leverettest.Call(context.Background(), h, GetRate, Parcel{Grams: 50_000})
	fmt.Println(got.Err)

	// Output:
	// 350 <nil>
	// out_of_range: 50000 g is too heavy
}

// A message whose confirm is lost is sent again, under the same id, by which its receiver recognises it.
func ExampleRecorder() {
	ctx := context.Background()
	rec, rep := &leverettest.Recorder{}, &leverettest.StubCaller{}
	leverettest.Answer(rep, GetRate, cheap)
	h := handlers(Shipping{rec, rep})

	rec.FailAfter(1, leveret.ErrUnconfirmed)
	got := leverettest.Deliver(ctx, h, OrderPlaced, Order{ID: "o-1", Grams: 500})
	fmt.Println(got.Verdict)
	got = got.Again(ctx)
	fmt.Println(got.Verdict)

	fmt.Println(leverettest.Sent(rec, ParcelSent))
	fmt.Println("the same id:", rec.Messages()[0].ID == rec.Messages()[1].ID)

	// Output:
	// retry
	// ack
	// [{o-1 500} {o-1 500}]
	// the same id: true
}

func ExampleStubCaller() {
	rep := &leverettest.StubCaller{}
	leverettest.Answer(rep, GetRate, func(context.Context, Parcel) (Rate, error) {
		return Rate{}, leveret.Errorf(leveret.Unavailable, "the scales are broken")
	})

	got := leverettest.Deliver(context.Background(), handlers(Shipping{caller: rep}), OrderPlaced, Order{ID: "o-1", Grams: 500})
	fmt.Println(got.Verdict, got.Delay)
	fmt.Println(got.Err)
	fmt.Println(leverettest.Sent(rep, GetRate))

	// Output:
	// retry 1s
	// rate of order o-1: unavailable: the scales are broken
	// [{o-1 500}]
}

// What depends on a broker is tested with a broker: a virtual host that is empty at first, and gone afterwards.
func ExampleBroker() {
	_ = func(t *testing.T) { // TestParcelsAreSent, in your test file
		conn, err := leveret.Connect(t.Context(), leveret.ConnConfig{URLs: []string{leverettest.Broker(t)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		client, err := leveret.NewClient(conn, Service, leveret.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := ParcelSent.Publish(t.Context(), client, Parcel{OrderID: "o-1", Grams: 500}); err != nil {
			t.Fatal(err)
		}
	}
}
