package crossing_test

import (
	"context"
	"time"

	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	paymentv1 "github.com/leveretmq/leveret/pkg/shop/internal/proto/leveret/shop/payment/v1"
)

// A question is what the tests ask, and an answer what they get. Over gRPC, both travel in messages of the shop.
type question struct {
	Do string `json:"do"`
}

type answer struct {
	Text string `json:"text"`
}

type (
	request = leveret.Request[question, answer]
	asked   = func(context.Context, question) (answer, error)
)

func newRequest(name string, options ...leveret.ContractOption) *request {
	return leveret.NewRequest[question, answer](name, append(options, leveret.Timeout(5*time.Minute))...)
}

// bound binds a request to a method.
func bound(r *request) grpcrpc.Method {
	return grpcrpc.Unary(r, paymentv1.PaymentService_AuthorizePayment_FullMethodName,
		func(q question) *paymentv1.AuthorizePaymentRequest {
			return &paymentv1.AuthorizePaymentRequest{OrderId: q.Do}
		},
		func(p *paymentv1.AuthorizePaymentRequest) question { return question{p.GetOrderId()} },
		func(a answer) *paymentv1.AuthorizePaymentResponse {
			return &paymentv1.AuthorizePaymentResponse{DeclineReason: a.Text}
		},
		func(p *paymentv1.AuthorizePaymentResponse) answer { return answer{p.GetDeclineReason()} })
}

// The oracle answers one request, and the guest asks it.
var (
	ask    = newRequest("oracle.ask")
	oracle = leveret.NewService("oracle", leveret.Answers(ask))
	guest  = leveret.NewService("guest", leveret.Calls(ask))
)

func answering(f asked) *leveret.Handlers {
	h := leveret.NewHandlers(oracle, leveret.HandlersConfig{})
	ask.Answer(h, f)
	return h
}
