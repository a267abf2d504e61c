package protobuf_test

import (
	"context"
	"fmt"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/leverettest"

	"github.com/leveretmq/leveret/pkg/protobuf"
	billingv1 "github.com/leveretmq/leveret/pkg/protobuf/internal/testproto/leveret/billing/v1"
)

// RefundCard carries a generated message.
var RefundCard = leveret.NewCommand[*billingv1.Charge]("billing.refund", leveret.Encoded(protobuf.Codec()))

func Example() {
	h := leveret.NewHandlers(leveret.NewService("billing", leveret.Handles(RefundCard)), leveret.HandlersConfig{})
	RefundCard.Handle(h, func(_ context.Context, c *billingv1.Charge) error {
		fmt.Println(c.GetOrderId(), c.GetTotal().GetAmount())
		return nil
	})
	d := leverettest.Deliver(context.Background(), h, RefundCard, &billingv1.Charge{OrderId: "7", Total: &billingv1.Money{Amount: 999}})
	text, _ := d.Message.JSON()
	fmt.Println(string(text))
	// Output:
	// 7 999
	// {"orderId":"7","total":{"amount":"999","currency":""},"cardNumber":""}
}
