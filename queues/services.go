package queues

import "github.com/leveretmq/leveret/pkg/leveret"

// The services of the system.
var (
	// Order accepts orders and sees each one through to confirmation or cancellation.
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

	// Payment authorises, captures, voids and refunds payments.
	Payment = leveret.NewService("payment",
		leveret.Answers(AuthorizePayment),
		leveret.SubscribesTo(OrderPlaced, OrderCancelled),
		leveret.Publishes(PaymentCaptured, PaymentVoided, PaymentRefunded))

	// User registers customers and logs them in.
	User = leveret.NewService("user",
		leveret.Answers(RegisterUser, LogIn, ShowUser),
		leveret.Calls(SetPassword, CheckPassword),
		leveret.Publishes(UserRegistered))

	// Auth keeps passwords and sessions, and signs tokens.
	Auth = leveret.NewService("auth",
		leveret.Answers(SetPassword, CheckPassword, RefreshTokens, LogOut, ListKeys))

	// Catalog is the whole system.
	Catalog = leveret.NewCatalog(Order, Inventory, Payment, User, Auth)
)
