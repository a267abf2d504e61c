//go:build !short

package peers

import (
	"context"
	"encoding/json"

	amqprpc "github.com/0x4b53/amqp-rpc/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// amqpRPC is 0x4b53/amqp-rpc. Its strongest: confirm mode and mandatory, which are its defaults, persistent messages
// where they are no requests, and deliveries that are acked after the handler instead of when they are sent. It starts
// a goroutine for each delivery: the prefetch is its only bound, so handlers are limited here.
func amqpRPC() Peer {
	return Peer{
		Name: "amqp-rpc", Module: "github.com/0x4b53/amqp-rpc/v5",
		About: "Confirm mode, mandatory, persistent (requests are not); a send without a response where nothing is asked; auto-ack off, each delivery " +
			"acked after its handler, for requests before the answer is written, which the library does itself; a durable reply queue; connects again. " +
			"Its requests are confirmed, since it learns of returns in no other mode; Leveret's are not, and learn of returns too.",
		RetryAbout: retryByHand,
		Sender:     func(_ context.Context, s Setting) (Sender, error) { return newRPCSender(s) },
		Work: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			if err := declareOver(s.URL, s, declareWork); err != nil {
				return err
			}
			return rpcHandle(ctx, s, ready, h, true)
		},
		Retry: func(ctx context.Context, s Setting, ready func(), h Handler) error {
			return rpcHandle(ctx, s, ready, h, false)
		},
		PrepareRetry: func(s Setting) error { return declareOver(s.URL, s, declareRetryByHand) },
		Caller:       func(_ context.Context, s Setting) (Caller, error) { return newRPC(s, requests), nil },
		Serve: func(ctx context.Context, s Setting, ready func(), r Responder) error {
			if err := declareOver(s.URL, s, declareRequests); err != nil {
				return err
			}
			return rpcWork(ctx, s, requests, true, ready, func(d amqp.Delivery, w *amqprpc.ResponseWriter) error {
				return handleBody(ctx, d.Body, func(ctx context.Context, p *Payload) error {
					reply, err := r(ctx, p)
					if err != nil {
						return err
					}
					return json.NewEncoder(w).Encode(reply)
				})
			})
		},
	}
}

type rpc struct {
	client        *amqprpc.Client
	exchange, key string
}

func newRPC(s Setting, exchange string) *rpc {
	client := amqprpc.NewClient(s.URL).WithName("bench").WithLogger(s.Log).WithTimeout(callTimeout).WithConfirmMode(true)
	return &rpc{client, exchange, s.Queue}
}

func newRPCSender(s Setting) (*rpc, error) {
	if !s.Declared {
		if err := declareOver(s.URL, s, declareWork); err != nil {
			return nil, err
		}
	}
	return newRPC(s, commands), nil
}

func (r *rpc) request(ctx context.Context, p *Payload) (*amqprpc.Request, error) {
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	request := amqprpc.NewRequest().WithContext(ctx).WithExchange(r.exchange).WithRoutingKey(r.key).WithMandatory(true).
		WithContentType("application/json")
	request.Publishing.Body = body
	return request, nil
}

func (r *rpc) Send(ctx context.Context, p *Payload) error {
	request, err := r.request(ctx, p)
	if err != nil {
		return err
	}
	request.WithResponse(false).Publishing.DeliveryMode = amqp.Persistent
	_, err = r.client.Send(request)
	return err
}

func (r *rpc) Call(ctx context.Context, p *Payload) (*Payload, error) {
	request, err := r.request(ctx, p)
	if err != nil {
		return nil, err
	}
	d, err := r.client.Send(request)
	if err != nil {
		return nil, err
	}
	var reply Payload
	return &reply, json.Unmarshal(d.Body, &reply)
}

func (r *rpc) Close(context.Context) error {
	r.client.Stop()
	return nil
}

// rpcHandle runs a server that answers nothing. What fails is put back, or dead-lettered.
func rpcHandle(ctx context.Context, s Setting, ready func(), h Handler, requeue bool) error {
	return rpcWork(ctx, s, commands, requeue, ready, func(d amqp.Delivery, _ *amqprpc.ResponseWriter) error {
		return handleBody(ctx, d.Body, h)
	})
}

// rpcWork runs a server until ctx ends.
func rpcWork(ctx context.Context, s Setting, exchange string, requeue bool, ready func(), h func(amqp.Delivery, *amqprpc.ResponseWriter) error) error {
	slots := make(chan struct{}, s.Concurrency)
	server := amqprpc.NewServer(s.URL).WithName("bench").WithLogger(s.Log)
	server.Bind(amqprpc.CreateBinding(s.Queue, exchange, func(_ context.Context, w *amqprpc.ResponseWriter, d amqp.Delivery) {
		slots <- struct{}{}
		defer func() { <-slots }()
		err := h(d, w)
		if err == nil {
			err = d.Ack(false)
		} else {
			err = d.Nack(false, requeue)
		}
		if err != nil {
			s.Log.Warn("not settled", "error", err)
		}
	}).WithRoutingKey(s.Queue).WithSkipQueueDeclare(true).WithAutoAck(false).WithPrefetchCount(s.Prefetch))
	server.OnConnected(func(_, _ *amqp.Connection, _, _ *amqp.Channel) { ready() })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.ListenAndServe()
	}()
	select {
	case <-ctx.Done():
		server.Stop()
		<-ended
	case <-ended:
	}
	return nil
}
