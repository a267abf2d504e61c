package queues

import "time"

// Values shared by the contracts' examples, which follow one order all the way through.
const (
	exampleOrderID         = "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41"
	exampleAuthorizationID = "0197a6c4-5a10-7b44-9f0e-2c6d1e8a7b93"
	exampleUserID          = "0197a6c4-3c21-7a5e-b1d0-7e4f2a9c8d10"
	exampleEmail           = "ada@example.com"
	examplePassword        = "correct horse battery staple"
	exampleRefreshToken    = "b3BhcXVlIGFuZCByYW5kb20sIGdvb2QgZm9yIG9uY2U"
)

var (
	exampleTime  = time.Date(2026, time.June, 1, 12, 0, 0, 0, time.UTC)
	exampleTotal = Money{Amount: 1998, Currency: "EUR"}
	exampleLines = []OrderLine{{SKU: "TEA-GREEN", Quantity: 2, UnitPrice: Money{Amount: 999, Currency: "EUR"}}}
	exampleStock = []StockLine{{SKU: "TEA-GREEN", Quantity: 2}}
)
