package comparand

import (
	"slices"
	"time"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	shopproto "github.com/leveretmq/leveret/pkg/shop/internal/proto"
	"github.com/leveretmq/leveret/pkg/shop/payment"
	"github.com/leveretmq/leveret/queues"
)

// The contracts, in addition to the shop's own queues.AuthorizePayment.
var (
	// PlaceOrder is an order as a command, OrderPlaced as an event. The work is to authorise its payment.
	PlaceOrder  = leveret.NewCommand[queues.AuthorizePaymentRequest]("compare.place-order")
	OrderPlaced = leveret.NewEvent[queues.AuthorizePaymentRequest]("compare.order-placed")

	// SetDelay sets how long the receiver that it reaches works on everything from now on.
	SetDelay = leveret.NewRequest[Delay, Delay]("compare.set-delay", leveret.HTTP("POST /delay"),
		leveret.Timeout(5*time.Second), leveret.Idempotent())
)

// A Delay is how long the work takes, beside what it takes anyway.
type Delay struct {
	Milliseconds int64 `json:"milliseconds"`
}

// The services.
var (
	// Receiver does the work. Several processes of it share its queues.
	Receiver = leveret.NewService("receiver",
		leveret.Answers(queues.AuthorizePayment, SetDelay), leveret.Handles(PlaceOrder), leveret.SubscribesTo(OrderPlaced))

	// Caller asks for it.
	Caller = leveret.NewService("caller",
		leveret.Calls(queues.AuthorizePayment, SetDelay), leveret.Sends(PlaceOrder), leveret.Publishes(OrderPlaced))
)

// Order returns the payload of the operation with this id, which has to be a UUID.
func Order(id string) queues.AuthorizePaymentRequest {
	return queues.AuthorizePaymentRequest{
		OrderID: id, CardToken: payment.TokenVisa, Amount: queues.Money{Amount: 1998, Currency: "EUR"},
	}
}

// Methods returns how the requests map to gRPC.
func Methods() []grpcrpc.Method {
	return slices.DeleteFunc(shopproto.Payment(), func(m grpcrpc.Method) bool { return m.Contract() != queues.AuthorizePayment })
}
