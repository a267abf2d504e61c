package shopproto

import (
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	paymentv1 "github.com/leveretmq/leveret/pkg/shop/internal/proto/leveret/shop/payment/v1"
	"github.com/leveretmq/leveret/queues"
)

// Payment returns the methods of the payment service.
func Payment() []grpcrpc.Method {
	return []grpcrpc.Method{
		grpcrpc.Unary(queues.AuthorizePayment, paymentv1.PaymentService_AuthorizePayment_FullMethodName,
			toAuthorizePayment, fromAuthorizePayment, toAuthorizePaymentReply, fromAuthorizePaymentReply),
		grpcrpc.Unary(queues.ClosePayment, paymentv1.PaymentService_ClosePayment_FullMethodName,
			func(q queues.ClosePaymentRequest) *paymentv1.ClosePaymentRequest {
				return &paymentv1.ClosePaymentRequest{OrderId: q.OrderID}
			},
			func(p *paymentv1.ClosePaymentRequest) queues.ClosePaymentRequest {
				return queues.ClosePaymentRequest{OrderID: p.GetOrderId()}
			},
			func(r queues.ClosePaymentReply) *paymentv1.ClosePaymentResponse {
				return &paymentv1.ClosePaymentResponse{OrderId: r.OrderID, State: closedPayments[r.State]}
			},
			func(p *paymentv1.ClosePaymentResponse) queues.ClosePaymentReply {
				return queues.ClosePaymentReply{OrderID: p.GetOrderId(), State: nameOf(closedPayments, p.GetState())}
			}),
	}
}

func toAuthorizePayment(q queues.AuthorizePaymentRequest) *paymentv1.AuthorizePaymentRequest {
	return &paymentv1.AuthorizePaymentRequest{OrderId: q.OrderID, CardToken: string(q.CardToken), Amount: toMoney(q.Amount)}
}

func fromAuthorizePayment(p *paymentv1.AuthorizePaymentRequest) queues.AuthorizePaymentRequest {
	return queues.AuthorizePaymentRequest{
		OrderID: p.GetOrderId(), CardToken: leveret.Secret(p.GetCardToken()), Amount: fromMoney(p.GetAmount()),
	}
}

func toAuthorizePaymentReply(r queues.AuthorizePaymentReply) *paymentv1.AuthorizePaymentResponse {
	return &paymentv1.AuthorizePaymentResponse{
		OrderId: r.OrderID, AuthorizationId: r.AuthorizationID, Status: paymentStatuses[r.Status],
		DeclineReason: r.DeclineReason, Amount: toMoney(r.Amount), DecidedAt: toTime(r.DecidedAt),
	}
}

func fromAuthorizePaymentReply(p *paymentv1.AuthorizePaymentResponse) queues.AuthorizePaymentReply {
	return queues.AuthorizePaymentReply{
		OrderID: p.GetOrderId(), AuthorizationID: p.GetAuthorizationId(), Status: nameOf(paymentStatuses, p.GetStatus()),
		DeclineReason: p.GetDeclineReason(), Amount: fromMoney(p.GetAmount()), DecidedAt: fromTime(p.GetDecidedAt()),
	}
}

// paymentStatuses and closedPayments are the names that both sides have for a value. Another one is unspecified on the wire,
// and empty in Go.
var paymentStatuses = map[string]paymentv1.PaymentStatus{
	queues.PaymentAuthorized: paymentv1.PaymentStatus_PAYMENT_STATUS_AUTHORIZED,
	queues.PaymentDeclined:   paymentv1.PaymentStatus_PAYMENT_STATUS_DECLINED,
}

var closedPayments = map[string]paymentv1.ClosedPayment{
	queues.ClosedDeclined:  paymentv1.ClosedPayment_CLOSED_PAYMENT_DECLINED,
	queues.ClosedVoided:    paymentv1.ClosedPayment_CLOSED_PAYMENT_VOIDED,
	queues.ClosedRefunded:  paymentv1.ClosedPayment_CLOSED_PAYMENT_REFUNDED,
	queues.ClosedCancelled: paymentv1.ClosedPayment_CLOSED_PAYMENT_CANCELLED,
}

func nameOf[V comparable](names map[string]V, v V) string {
	for name, known := range names {
		if known == v {
			return name
		}
	}
	return ""
}

func toMoney(m queues.Money) *paymentv1.Money {
	return &paymentv1.Money{Amount: m.Amount, Currency: m.Currency}
}

func fromMoney(p *paymentv1.Money) queues.Money {
	return queues.Money{Amount: p.GetAmount(), Currency: p.GetCurrency()}
}
