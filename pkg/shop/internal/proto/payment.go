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
		OrderId: r.OrderID, AuthorizationId: r.AuthorizationID, Status: toPaymentStatus(r.Status),
		DeclineReason: r.DeclineReason, Amount: toMoney(r.Amount), DecidedAt: toTime(r.DecidedAt),
	}
}

func fromAuthorizePaymentReply(p *paymentv1.AuthorizePaymentResponse) queues.AuthorizePaymentReply {
	return queues.AuthorizePaymentReply{
		OrderID: p.GetOrderId(), AuthorizationID: p.GetAuthorizationId(), Status: fromPaymentStatus(p.GetStatus()),
		DeclineReason: p.GetDeclineReason(), Amount: fromMoney(p.GetAmount()), DecidedAt: fromTime(p.GetDecidedAt()),
	}
}

// paymentStatuses are the names that both sides have for a status. Another one is unspecified on the wire, and empty in
// Go.
var paymentStatuses = map[string]paymentv1.PaymentStatus{
	queues.PaymentAuthorized: paymentv1.PaymentStatus_PAYMENT_STATUS_AUTHORIZED,
	queues.PaymentDeclined:   paymentv1.PaymentStatus_PAYMENT_STATUS_DECLINED,
}

func toPaymentStatus(s string) paymentv1.PaymentStatus { return paymentStatuses[s] }

func fromPaymentStatus(p paymentv1.PaymentStatus) string {
	for s, known := range paymentStatuses {
		if known == p {
			return s
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
