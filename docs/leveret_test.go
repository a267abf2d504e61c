package docs_test

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
)

// The right side of migrate-from-amqp091.md.

// What the billing service handles, announces and answers.
var (
	ChargeCard  = leveret.NewCommand[Charge]("billing.charge")
	CardCharged = leveret.NewEvent[Charge]("billing.charged")
	GetBalance  = leveret.NewRequest[BalanceQuery, BalanceReply]("billing.balance", leveret.Timeout(5*time.Second))

	Billing = leveret.NewService("billing",
		leveret.Handles(ChargeCard), leveret.Answers(GetBalance), leveret.Publishes(CardCharged))
	Shop = leveret.NewService("shop",
		leveret.Sends(ChargeCard), leveret.Calls(GetBalance))
)

type Charge struct {
	ChargeID string `json:"charge_id"`
	Amount   int64  `json:"amount"`
}

type BalanceQuery struct {
	Account string `json:"account"`
}

type BalanceReply struct {
	Amount int64 `json:"amount"`
}

func connect(ctx context.Context, url string, log *slog.Logger) (*leveret.Conn, error) {
	return leveret.Connect(ctx, leveret.ConnConfig{URLs: []string{url}, Logger: log})
}

func publish(ctx context.Context, client *leveret.Client, c Charge) error {
	return ChargeCard.Send(ctx, client, c) // nil: confirmed, and in a queue
}

func explain(err error) string {
	switch {
	case errors.Is(err, leveret.ErrUnroutable):
		return "no queue is bound for it"
	case errors.Is(err, leveret.ErrNacked):
		return "the broker refused it"
	case errors.Is(err, leveret.ErrUnconfirmed):
		return "written, and no answer came: send it again under the same id"
	default:
		return "not sent"
	}
}

func consume(ctx context.Context, conn *leveret.Conn, charge func(context.Context, Charge) error) error {
	h := leveret.NewHandlers(leveret.NewService("billing", leveret.Handles(ChargeCard)), leveret.HandlersConfig{})
	ChargeCard.Handle(h, charge)
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// ChargeCardSlowly is tried again after 2 s, then after 30 s, and is a dead letter after that.
var ChargeCardSlowly = leveret.NewCommand[Charge]("billing.charge", leveret.Retry(leveret.RetryPolicy{
	Attempts: 3, Delays: []time.Duration{2 * time.Second, 30 * time.Second},
}))

func charge(_ context.Context, c Charge) error {
	switch {
	case c.Amount <= 0:
		return leveret.Errorf(leveret.InvalidArgument, "amount %d", c.Amount) // a dead letter, at once
	case c.Amount > 1_000_000:
		return leveret.Errorf(leveret.Unavailable, "the bank does not answer") // tried again
	default:
		return nil
	}
}

func call(ctx context.Context, client *leveret.Client, account string) (BalanceReply, error) {
	return GetBalance.Call(ctx, client, BalanceQuery{Account: account})
}

func answer(h *leveret.Handlers) {
	GetBalance.Answer(h, func(_ context.Context, q BalanceQuery) (BalanceReply, error) {
		if q.Account == "" {
			return BalanceReply{}, leveret.Errorf(leveret.NotFound, "no such account")
		}
		return BalanceReply{Amount: 42}, nil
	})
}

func concurrent(conn *leveret.Conn, h *leveret.Handlers) (*leveret.Worker, error) {
	return leveret.NewWorker(conn, h, leveret.WorkerConfig{Concurrency: 16, Prefetch: 50})
}

func shutdown(ctx context.Context, conn *leveret.Conn) (*leveret.Worker, error) {
	h := leveret.NewHandlers(Billing, leveret.HandlersConfig{})
	ChargeCard.Handle(h, charge)
	answer(h)
	w, err := leveret.NewWorker(conn, h, leveret.WorkerConfig{DrainTimeout: 20 * time.Second})
	if err != nil {
		return nil, err
	}
	return w, w.Run(ctx) // until ctx ends, and what runs then has finished
}

// OldCharge is the same command over the exchange and the queue that are there already.
var OldCharge = leveret.NewCommand[Charge]("billing.charge", leveret.At(leveret.Address{
	Exchange: "billing", RoutingKey: "charge", Queue: "billing.charge", External: true, Type: leveret.NoType,
}))

// Alert is what their programs send when something is wrong.
type Alert struct {
	Severity string `json:"severity"`
	Text     string `json:"text"`
}

// Alarm is an event of theirs: a key for each severity, and a type that their programs choose by.
var Alarm = leveret.NewEvent[Alert]("plant.alarm",
	leveret.At(leveret.Address{
		Exchange: "alarms", RoutingKey: "alarm.#", Queue: "alarms-to-pager", External: true, Type: "alarm_raised",
		Topology: topology.Topology{
			Exchanges: []topology.Exchange{{Name: "alarms", Type: topology.Topic}},
			Queues:    []topology.Queue{{Name: "alarms-to-pager", Args: map[string]any{"x-max-priority": int32(5)}}},
			Bindings:  []topology.Binding{{Exchange: "alarms", RoutingKey: "alarm.#", Queue: "alarms-to-pager"}},
		},
	}),
	leveret.RoutingKey(func(a Alert) string { return "alarm." + a.Severity }),
)

// PayCharge is the command once nothing uses the old queue any more: the queue of its own has a new name.
var PayCharge = leveret.NewCommand[Charge]("billing.pay-charge")

// OldBalance is a request to a queue that is there already.
var OldBalance = leveret.NewRequest[BalanceQuery, BalanceReply]("billing.old-balance", leveret.At(leveret.Address{
	Exchange: "billing", RoutingKey: "balance", Queue: "balances", External: true, Type: leveret.NoType,
}))
