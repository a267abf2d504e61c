package shopcli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/queues"
)

// customers is how many customers place the orders.
const customers = 12

// signUp registers the customers, who log in.
func (d *demonstration) signUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*d.patience, errNoAnswer) // each password is hashed, which is slow by design
	defer cancel()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: placers}, Timeout: 30 * time.Second}
	errs := make([]error, customers)
	var all sync.WaitGroup
	for i := range customers {
		s := &shopper{
			url: d.system.gatewayURL(), client: client, password: d.secret,
			email: fmt.Sprintf("customer-%d@example.com", i+1),
		}
		d.shoppers = append(d.shoppers, s)
		all.Go(func() { errs[i] = s.signUp(ctx, fmt.Sprintf("Customer %d", i+1)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// placers is how many orders are placed at once.
const placers = 16

// placed is what became of a placement at the edge.
type placed struct {
	placement

	// id is the order's id, or the key of a direct message and of an order that was refused. It is empty if there was no
	// answer.
	id string
	// refusal is the answer of the REST API if it has refused the order.
	refusal *refusal
	// tries is how often the order was placed until there was an answer.
	tries int
}

// accepted reports whether the REST API has accepted the order.
func (p *placed) accepted() bool { return !p.direct && p.refusal == nil && p.id != "" }

// placing places the orders in the background.
type placing struct {
	done     chan struct{} // closed when all are placed
	err      error
	accepted atomic.Int64
	orders   []placed
	wrong    []string // answers that should not be
}

// place places the orders, several at once. A customer whose order gets no answer places it again.
func (d *demonstration) place(ctx context.Context, client *leveret.Client, orders []placement) *placing {
	p := &placing{done: make(chan struct{}), orders: make([]placed, len(orders))}
	var next atomic.Int64
	errs := make([]error, placers)
	wrong := make([][]string, placers)
	var all sync.WaitGroup
	for i := range placers {
		all.Go(func() {
			for errs[i] == nil {
				n := int(next.Add(1)) - 1
				if n >= len(orders) {
					return
				}
				if errs[i] = d.awaitKills(ctx, n); errs[i] != nil {
					return
				}
				var w []string
				p.orders[n], w, errs[i] = d.placeOne(ctx, client, orders[n])
				wrong[i] = append(wrong[i], w...)
				if p.orders[n].refusal == nil {
					p.accepted.Add(1)
				}
			}
		})
	}
	go func() {
		defer close(p.done)
		all.Wait()
		p.err = errors.Join(errs...)
		for _, w := range wrong {
			p.wrong = append(p.wrong, w...)
		}
	}()
	return p
}

// awaitKills waits for the kills that come before an order.
func (d *demonstration) awaitKills(ctx context.Context, order int) error {
	for _, k := range d.plan {
		if order < k.before {
			return nil
		}
		select {
		case <-k.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (d *demonstration) placeOne(ctx context.Context, client *leveret.Client, o placement) (_ placed, wrong []string, err error) {
	result := placed{placement: o, tries: 1}
	if o.direct {
		sending, cancel := d.answering(ctx)
		defer cancel()
		if err := client.Send(sending, leveret.NewMessage(ctx, queues.PlaceOrder, o.body, leveret.MessageID(o.key))); err != nil {
			return result, nil, err
		}
		result.id = o.key
		return result, nil, nil
	}
	s := d.shoppers[o.customer]
	var reply, again struct {
		OrderID string `json:"order_id"`
	}
	result.tries, err = s.do(ctx, http.MethodPost, "/orders", o.key, o.body, &reply)
	if refused, ok := errors.AsType[*refusal](err); ok {
		result.id, result.refusal = o.key, refused
		if !o.refused {
			wrong = append(wrong, fmt.Sprintf("an order was refused: %v", refused))
		}
		return result, wrong, nil
	}
	if err != nil {
		return result, nil, err
	}
	result.id = reply.OrderID
	if o.refused {
		wrong = append(wrong, fmt.Sprintf("order %s is malformed, but was accepted", reply.OrderID))
	}
	if o.twice {
		if _, err := s.do(ctx, http.MethodPost, "/orders", o.key, o.body, &again); err != nil {
			return result, wrong, err
		}
		if again != reply {
			wrong = append(wrong, fmt.Sprintf("order %s became %s when it was placed again under the same key", reply.OrderID, again.OrderID))
		}
	}
	if o.cancel {
		_, err = s.do(ctx, http.MethodPost, "/orders/"+reply.OrderID+"/cancel", "cancel-"+o.key, nil, nil)
		if refused, ok := errors.AsType[*refusal](err); ok && refused.Reason == "order_confirmed" {
			err = nil // it was too late
		}
	}
	return result, wrong, err
}
