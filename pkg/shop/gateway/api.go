package gateway

import (
	"net/http"
	"time"

	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// The requests of the public API.
var (
	Register     = leveret.NewRequest[RegisterRequest, User]("gateway.register", leveret.HTTP("POST /users"), timeout)
	ShowMe       = leveret.NewRequest[Nothing, User]("gateway.show-me", leveret.HTTP("GET /me"), timeout)
	LogIn        = leveret.NewRequest[LogInRequest, Session]("gateway.log-in", leveret.HTTP("POST /log-in"), timeout)
	RefreshToken = leveret.NewRequest[TokenRequest, Session]("gateway.refresh", leveret.HTTP("POST /refresh"), timeout)
	LogOut       = leveret.NewRequest[TokenRequest, Nothing]("gateway.log-out", leveret.HTTP("POST /log-out"), timeout)
	PlaceOrder   = leveret.NewRequest[PlaceOrderRequest, Accepted]("gateway.place-order", leveret.HTTP("POST /orders"), timeout)
	ListOrders   = leveret.NewRequest[ListRequest, Orders]("gateway.list-orders", leveret.HTTP("GET /orders"), timeout)
	OrderHistory = leveret.NewRequest[ListRequest, Orders]("gateway.order-history", leveret.HTTP("GET /orders/history"), timeout)
	ShowOrder    = leveret.NewRequest[OrderRequest, Order]("gateway.show-order", leveret.HTTP("GET /orders/{order_id}"), timeout)
	CancelOrder  = leveret.NewRequest[OrderRequest, Order]("gateway.cancel-order", leveret.HTTP("POST /orders/{order_id}/cancel"), timeout)
)

var timeout = leveret.Timeout(10 * time.Second)

// API is the gateway as its customers see it.
var API = leveret.NewService("gateway", leveret.Answers(
	Register, ShowMe, LogIn, RefreshToken, LogOut, PlaceOrder, ListOrders, OrderHistory, ShowOrder, CancelOrder))

// routes are the routes of the API.
func routes() []httprpc.Route {
	return []httprpc.Route{
		{Contract: Register, Status: http.StatusCreated, Public: true, Summary: "Register a customer"},
		{Contract: LogIn, Public: true, Summary: "Log in, and get an access token and a refresh token"},
		{Contract: RefreshToken, Public: true, Summary: "Exchange a refresh token for new tokens"},
		{Contract: LogOut, Status: http.StatusNoContent, Public: true, Summary: "End the session of a refresh token"},
		{Contract: ShowMe, Summary: "Show the customer who is logged in"},
		{
			Contract: PlaceOrder, Status: http.StatusAccepted, Location: "/orders/{order_id}",
			Summary: "Place an order, which is paid for and fulfilled afterwards: its status is at the Location",
		},
		{Contract: ListOrders, Summary: "List the customer's own orders, the newest first"},
		{Contract: OrderHistory, Summary: "List the customer's own orders from the gateway's own memory, which follows the order service with a delay"},
		{Contract: ShowOrder, Summary: "Show the status of one of the customer's own orders"},
		{Contract: CancelOrder, Summary: "Cancel an order that is not confirmed yet"},
	}
}

// anyID stands in for the ids that the gateway adds to what a customer sends, where only that is to be checked.
const anyID = "0197a6c4-59f2-7d3e-8c1b-5a0f3b9e2d41"

// Nothing is a payload without fields.
type Nothing struct{}

// RegisterRequest is what a new customer says about themselves.
type RegisterRequest struct {
	Email    string         `json:"email" jsonschema:"minLength=3,maxLength=254,example=ada@example.com"`
	Name     string         `json:"name" jsonschema:"minLength=1,maxLength=64"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=8,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r RegisterRequest) Validate() error {
	return queues.RegisterUserRequest{UserID: anyID, Email: r.Email, Name: r.Name, Password: r.Password}.Validate()
}

// User is a customer.
type User struct {
	UserID       string    `json:"user_id" jsonschema:"format=uuid"`
	Email        string    `json:"email"`
	Name         string    `json:"name"`
	RegisteredAt time.Time `json:"registered_at"`
}

// LogInRequest is what a customer proves their identity with.
type LogInRequest struct {
	Email    string         `json:"email" jsonschema:"minLength=3,maxLength=254,example=ada@example.com"`
	Password leveret.Secret `json:"password" jsonschema:"minLength=1,maxLength=256"`
}

// Validate reports every field that is wrong.
func (r LogInRequest) Validate() error { return queues.LogInRequest(r).Validate() }

// Session holds the tokens of a customer who is logged in.
type Session struct {
	// AccessToken goes into the Authorization header, after "Bearer ". It is valid for a few minutes.
	AccessToken leveret.Secret `json:"access_token" jsonschema_description:"Sent as Authorization: Bearer, for a few minutes"`
	TokenType   string         `json:"token_type" jsonschema:"enum=Bearer"`
	// AccessExpiresAt is when the access token expires.
	AccessExpiresAt time.Time `json:"access_expires_at"`
	// RefreshToken is exchanged for new tokens, once.
	RefreshToken     leveret.Secret `json:"refresh_token" jsonschema_description:"Exchanged for new tokens, once"`
	RefreshExpiresAt time.Time      `json:"refresh_expires_at"`
}

// TokenRequest carries a refresh token.
type TokenRequest struct {
	RefreshToken leveret.Secret `json:"refresh_token" jsonschema:"minLength=1,maxLength=256"`
}

// Validate reports a token that cannot be one.
func (r TokenRequest) Validate() error { return queues.RefreshTokensRequest(r).Validate() }

// PlaceOrderRequest is an order as its customer places it.
type PlaceOrderRequest struct {
	// CardToken represents the card. For test tokens, see package payment.
	CardToken leveret.Secret     `json:"card_token" jsonschema:"minLength=5,maxLength=64,pattern=^tok_[a-z0-9_]+$,description=Represents the card; never its number,example=tok_visa"`
	Lines     []queues.OrderLine `json:"lines" jsonschema:"minItems=1,maxItems=100"`
}

// Validate reports every field that is wrong.
func (r PlaceOrderRequest) Validate() error {
	return r.command(anyID, "customer").Validate()
}

func (r PlaceOrderRequest) command(orderID, customerID string) queues.PlaceOrderCommand {
	return queues.PlaceOrderCommand{OrderID: orderID, CustomerID: customerID, CardToken: r.CardToken, Lines: r.Lines}
}

// Accepted is an order that was accepted, and is now on its way.
type Accepted struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
	// Status is where the order's status is.
	Status string `json:"status_url" jsonschema:"format=uri-reference" jsonschema_description:"Where the order's status is: the Location"`
}

// OrderRequest identifies one of the customer's orders.
type OrderRequest struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid" jsonschema_description:"The order_id of an answer, in lower case"`
}

// Validate reports an id that is none.
func (r OrderRequest) Validate() error {
	return queues.ShowOrderRequest{OrderID: r.OrderID, CustomerID: "customer"}.Validate()
}

// ListRequest asks for a page of the customer's orders.
type ListRequest struct {
	// Limit is how many orders a page holds at most. 0 means 20.
	Limit int `json:"limit,omitempty" jsonschema:"minimum=0,maximum=100,default=20" jsonschema_description:"How many orders a page holds at most; 0 means 20"`
	// Cursor is the next_cursor of the page before; empty for the first.
	Cursor string `json:"cursor,omitempty" jsonschema:"maxLength=128" jsonschema_description:"The next_cursor of the page before; none for the first"`
}

// Validate reports every field that is wrong.
func (r ListRequest) Validate() error {
	return queues.ListOrdersRequest{CustomerID: "customer", Limit: r.Limit, Cursor: r.Cursor}.Validate()
}

// Orders is a page of orders.
type Orders struct {
	Orders []Order `json:"orders"`
	// NextCursor is where the next page begins. It is empty on the last one.
	NextCursor string `json:"next_cursor,omitempty" jsonschema_description:"The cursor of the next page; missing on the last one"`
}

// Order is the status of an order.
type Order struct {
	OrderID string `json:"order_id" jsonschema:"format=uuid"`
	// State is accepted, pending, placed, captured, reserved, closing, confirmed or cancelled; the last two are final. More may be
	// added.
	State string `json:"state" jsonschema:"example=confirmed" jsonschema_description:"accepted, pending, placed, captured, reserved, closing, confirmed, cancelled; more may come. Final with decided_at"`
	// Reason says why an order is cancelled: declined, out_of_stock, requested or expired. More may be added.
	Reason string `json:"reason,omitempty" jsonschema_description:"Why it is cancelled: declined, out_of_stock, requested or expired. More may be added"`
	// Lines and Total are missing while the order is only accepted.
	Lines []queues.OrderLine `json:"lines,omitempty" jsonschema_description:"Missing while the order is only accepted"`
	Total *queues.Money      `json:"total,omitempty"`
	// DecidedAt is when the order was confirmed or cancelled.
	DecidedAt *time.Time `json:"decided_at,omitempty" jsonschema_description:"When it was confirmed or cancelled, which is final"`
}

func orderOf(r queues.ShowOrderReply) Order {
	return Order{OrderID: r.OrderID, State: r.State, Reason: r.Reason, Lines: r.Lines, Total: &r.Total, DecidedAt: r.DecidedAt}
}
