package notify

import (
	"context"
	"log/slog"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// Declaration says what the service listens to. It sends nothing.
var Declaration = leveret.NewService("notify",
	leveret.SubscribesTo(queues.OrderConfirmed, queues.OrderCancelled, queues.PaymentRefunded),
	leveret.Remembers(leveret.Forever)) // by the event and its order, and notices stay

// A Service handles the events. It is safe for concurrent use.
type Service struct {
	store  *Store
	logger *slog.Logger
	now    func() time.Time
}

// New returns a service that keeps its notices in s. A nil logger means slog.Default().
func New(s *Store, logger *slog.Logger) *Service {
	if logger == nil {
		logger = slog.Default()
	}
	return &Service{store: s, logger: logger, now: time.Now}
}

// Register makes the service the handler of everything in [Declaration].
func (s *Service) Register(h *leveret.Handlers) {
	queues.OrderConfirmed.Subscribe(h, func(ctx context.Context, o queues.OrderConfirmedEvent) error {
		return s.notify(ctx, confirmed(o))
	})
	queues.OrderCancelled.Subscribe(h, func(ctx context.Context, o queues.OrderCancelledEvent) error {
		return s.notify(ctx, cancelled(o))
	})
	queues.PaymentRefunded.Subscribe(h, func(ctx context.Context, p queues.PaymentRefundedEvent) error {
		return s.notify(ctx, refunded(p))
	})
}

// notify stores a notice, and logs a new one without its text, which is the customer's business.
func (s *Service) notify(ctx context.Context, n Notice) error {
	added, err := s.store.Add(ctx, n, s.now())
	if added {
		s.logger.InfoContext(ctx, "customer notified", "about", n.About, "order_id", n.OrderID)
	}
	return err
}
