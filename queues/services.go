package queues

import "github.com/leveretmq/leveret/pkg/leveret"

// The services of the system.
var (
	// Order accepts orders and sees each one through to confirmation or cancellation. AbandonOrder is what version 0.1.0 of it
	// sends; AnnounceOrder comes from operators.
	Order = leveret.NewService("order",
		leveret.Handles(PlaceOrder, AbandonOrder, CheckOrder, AnnounceOrder),
		leveret.Answers(ShowOrder, ListOrders, CancelOrder),
		leveret.SubscribesTo(PaymentCaptured, StockReserved, StockRejected),
		leveret.Calls(AuthorizePayment, ClosePayment),
		leveret.Sends(ReserveStock, AbandonOrder, CheckOrder),
		leveret.Publishes(OrderPlaced, OrderConfirmed, OrderCancelled),
		leveret.Remembers(leveret.Forever)) // by the order's state, and orders stay

	// Inventory keeps the stock and sets goods aside.
	Inventory = leveret.NewService("inventory",
		leveret.Handles(ReserveStock),
		leveret.SubscribesTo(OrderCancelled),
		leveret.Publishes(StockReserved, StockRejected, StockReleased),
		leveret.Remembers(leveret.Forever)) // by the reservation of the order, and reservations stay

	// Payment authorises, captures, voids and refunds payments.
	Payment = leveret.NewService("payment",
		leveret.Answers(AuthorizePayment, ClosePayment),
		leveret.SubscribesTo(OrderPlaced, OrderCancelled),
		leveret.Publishes(PaymentCaptured, PaymentVoided, PaymentRefunded),
		// By the payment of the order, and payments stay. That an order was cancelled before it had one is forgotten one day; the
		// same cancellation then has it remembered again, and moves no money.
		leveret.Remembers(leveret.Forever))

	// User registers customers and logs them in.
	User = leveret.NewService("user",
		leveret.Answers(RegisterUser, LogIn, ShowUser),
		leveret.Calls(SetPassword, CheckPassword),
		leveret.Publishes(UserRegistered))

	// Auth keeps passwords and sessions, and signs tokens.
	Auth = leveret.NewService("auth",
		leveret.Answers(SetPassword, CheckPassword, RefreshTokens, LogOut, ListKeys))

	// Gateway is the REST API of the shop's customers. What it offers them is its own: see package gateway.
	Gateway = leveret.NewService("gateway",
		leveret.Sends(PlaceOrder),
		leveret.Reads(OrderPlaced, OrderConfirmed, OrderCancelled),
		leveret.Calls(ShowOrder, ListOrders, CancelOrder, RegisterUser, LogIn, ShowUser, RefreshTokens, LogOut, ListKeys))

	// Catalog is the whole system, but for services that only listen: see package notify.
	Catalog = leveret.NewCatalog(Gateway, Order, Inventory, Payment, User, Auth)
)
