package queues

import "github.com/leveretmq/leveret/pkg/leveret"

// Who talks with whom.
var (
	// Order takes orders and leads each to its end.
	Order = leveret.NewService("order",
		leveret.Handles(PlaceOrder),
		leveret.Answers(ShowOrder),
		leveret.SubscribesTo(PaymentCaptured, StockReserved, StockRejected),
		leveret.Calls(AuthorizePayment),
		leveret.Sends(ReserveStock),
		leveret.Publishes(OrderPlaced, OrderConfirmed, OrderCancelled))

	// Inventory keeps the stock and sets goods aside.
	Inventory = leveret.NewService("inventory",
		leveret.Handles(ReserveStock),
		leveret.Publishes(StockReserved, StockRejected))

	// Payment holds, charges and gives back money.
	Payment = leveret.NewService("payment",
		leveret.Answers(AuthorizePayment),
		leveret.SubscribesTo(OrderPlaced, OrderCancelled),
		leveret.Publishes(PaymentCaptured, PaymentVoided, PaymentRefunded))

	// Catalog is the whole system.
	Catalog = leveret.NewCatalog(Order, Inventory, Payment)
)
