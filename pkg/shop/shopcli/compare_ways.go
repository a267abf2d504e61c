package shopcli

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/grpcrpc"
	"github.com/leveretmq/leveret/pkg/httprpc"
	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/shop/internal/comparand"
	"github.com/leveretmq/leveret/pkg/topology"
	"github.com/leveretmq/leveret/queues"
)

// receiverAddresses are where callers reach receivers.
type receiverAddresses struct {
	http, grpc []string // host:port
	broker     string   // URL
	layout     topology.Layout
}

// ways are the open connections of callers.
type ways struct {
	all    []compare.Way
	closes []func(context.Context)
}

// close closes all connections.
func (w *ways) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, end := range slices.Backward(w.closes) {
		end(ctx)
	}
}

// openWays opens all ways. With retries, there are those that try again, too.
func openWays(ctx context.Context, at receiverAddresses, retries bool) (*ways, error) {
	w := &ways{}
	modes := []bool{false}
	if retries {
		modes = append(modes, true)
	}
	for _, retry := range modes {
		for _, add := range []func() error{
			func() error { return w.addHTTP(at, false, retry) },
			func() error { return w.addHTTP(at, true, retry) },
			func() error { return w.addGRPC(at, retry) },
		} {
			if err := add(); err != nil {
				w.close(ctx)
				return nil, err
			}
		}
	}
	if err := w.addAMQP(ctx, at); err != nil {
		w.close(ctx)
		return nil, err
	}
	return w, nil
}

// A dialer counts the connections that it has opened.
type dialer struct{ opened atomic.Int64 }

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		d.opened.Add(1)
	}
	return conn, err
}

func (d *dialer) connections() int { return int(d.opened.Load()) }

func (w *ways) addHTTP(at receiverAddresses, http2, retry bool) error {
	var d dialer
	config := httprpc.CallerConfig{Service: comparand.Caller, HTTP2: http2, NoRetries: !retry, Dial: d.dial}
	for _, a := range at.http {
		config.URLs = append(config.URLs, "http://"+a)
	}
	caller, err := httprpc.NewCaller(config)
	if err != nil {
		return err
	}
	w.closes = append(w.closes, func(context.Context) { _ = caller.Close() }) // it returns nil
	way := compare.Way{Name: "http", Label: "HTTP/1.1", Protocol: "HTTP/1.1 with keep-alive, JSON"}
	if http2 {
		way = compare.Way{Name: "h2c", Label: "HTTP/2", Protocol: "HTTP/2 without TLS (h2c), JSON"}
	}
	w.addCall(way, caller, d.connections, retry)
	return nil
}

func (w *ways) addGRPC(at receiverAddresses, retry bool) error {
	var d dialer
	caller, err := grpcrpc.NewCaller(grpcrpc.CallerConfig{
		Service: comparand.Caller, Addresses: at.grpc, NoRetries: !retry,
		Options: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return d.dial(ctx, "tcp", address)
		})},
	}, comparand.Methods()...)
	if err != nil {
		return err
	}
	w.closes = append(w.closes, func(context.Context) { _ = caller.Close() })
	way := compare.Way{Name: "grpc", Label: "gRPC", Protocol: "gRPC without TLS, Protobuf"}
	w.addCall(way, caller, d.connections, retry)
	return nil
}

// addCall adds a way that calls.
func (w *ways) addCall(way compare.Way, caller leveret.Caller, connections func() int, retry bool) {
	if retry {
		way.Name, way.Label, way.Retries = way.Name+"-retries", way.Label+" with retries", true
	}
	way.Connections = connections
	way.Do = func(ctx context.Context, id string) error {
		_, err := queues.AuthorizePayment.Call(ctx, caller, comparand.Order(id), leveret.MessageID(id))
		return err
	}
	w.all = append(w.all, way)
}

// addAMQP adds the three ways over RabbitMQ, which share their connections.
func (w *ways) addAMQP(ctx context.Context, at receiverAddresses) error {
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{
		URLs: []string{at.broker}, Name: "compare", Layout: at.layout,
		// What fails, fails on purpose.
		Logger: slog.New(slog.DiscardHandler), OnFailure: func(error) {},
	})
	if err != nil {
		return err
	}
	w.closes = append(w.closes, func(ctx context.Context) { _ = conn.Close(ctx) })
	client, err := leveret.NewClient(conn, comparand.Caller, leveret.ClientConfig{})
	if err != nil {
		return err
	}
	w.closes = append(w.closes, func(ctx context.Context) { _ = client.Close(ctx) })
	two := func() int { return 2 } // a leveret.Conn has one for publishing and one for consuming
	w.addCall(compare.Way{Name: "amqp", Label: "Request/reply", Protocol: "AMQP 0-9-1, JSON"}, client, two, false)
	const confirmed = "AMQP 0-9-1 with confirms, JSON"
	command := compare.Way{Name: "command", Label: "Command", Async: true, Protocol: confirmed, Connections: two}
	command.Do = func(ctx context.Context, id string) error {
		return comparand.PlaceOrder.Send(ctx, client, comparand.Order(id), leveret.MessageID(id))
	}
	event := compare.Way{Name: "event", Label: "Event", Async: true, Protocol: confirmed, Connections: two}
	event.Do = func(ctx context.Context, id string) error {
		return comparand.OrderPlaced.Publish(ctx, client, comparand.Order(id), leveret.MessageID(id))
	}
	w.all = append(w.all, command, event)
	return nil
}
