package shopcli

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/leveretmq/leveret/pkg/compare"
	"github.com/leveretmq/leveret/pkg/measure"
)

// relays are relays that are closed together.
type relays struct{ all []*measure.Relay }

func (r *relays) to(ctx context.Context, target string) (string, error) {
	one, err := measure.NewRelay(ctx, target)
	if err != nil {
		return "", err
	}
	r.all = append(r.all, one)
	return one.Addr(), nil
}

func (r *relays) close() {
	for _, one := range r.all {
		_ = one.Close()
	}
}

// traffic is what has gone over all of them.
func (r *relays) traffic() (sum measure.Traffic) {
	for _, one := range r.all {
		t := one.Traffic()
		sum.Connections, sum.Sent, sum.Received = sum.Connections+t.Connections, sum.Sent+t.Sent, sum.Received+t.Received
	}
	return sum
}

// through puts a relay before the broker, and returns the URL that leads through it.
func (r *relays) through(ctx context.Context, broker string) (string, error) {
	u, err := url.Parse(broker)
	if err != nil { // it may hold a password
		return "", errors.New("the broker's URL is not one")
	}
	u.Host, err = r.to(ctx, u.Host)
	return u.String(), err
}

// bytes makes the pass bytes, with receivers that reach the broker through a relay.
func (c *comparison) bytes(
	ctx context.Context, r *receivers, engine *compare.Comparison,
) (_ []compare.Bytes, err error) {
	var behind relays // between the broker and the receivers
	defer behind.close()
	direct := r.broker
	if err := r.stop(ctx); err != nil {
		return nil, err
	}
	defer func() { r.broker = direct }()
	if r.broker, err = behind.through(ctx, direct); err != nil {
		return nil, err
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop(ctx)) }() // before the relay closes

	at := r.addresses()
	at.broker = direct
	var counted []compare.CountedWay
	for _, name := range []string{"http", "h2c", "grpc", "amqp", "command", "event"} {
		var before, amqp relays // a caller's
		defer before.close()
		defer amqp.close()
		mine := at
		if mine.http, err = before.each(ctx, at.http); err != nil {
			return nil, err
		}
		if mine.grpc, err = before.each(ctx, at.grpc); err != nil {
			return nil, err
		}
		if mine.broker, err = amqp.through(ctx, direct); err != nil {
			return nil, err
		}
		w, err := openWays(ctx, mine, false)
		if err != nil {
			return nil, err
		}
		defer w.close(ctx)
		for _, way := range w.all {
			if way.Name != name {
				continue
			}
			hops := []compare.Hop{{Name: "caller–receivers", Traffic: before.traffic}}
			if strings.HasPrefix(way.Protocol, "AMQP") {
				hops = []compare.Hop{
					{Name: "caller–RabbitMQ", Traffic: amqp.traffic},
					{Name: "RabbitMQ–receivers", Traffic: func() measure.Traffic {
						t := behind.traffic()
						t.Sent, t.Received = t.Received, t.Sent // a receiver's connection leads to the broker
						return t
					}},
				}
			}
			counted = append(counted, compare.CountedWay{Way: way, Hops: hops})
		}
	}
	return engine.Bytes(ctx, compare.BytesConfig{Ways: counted, Operations: c.operations()})
}

// operations is how many are counted.
func (c *comparison) operations() int { return min(1000, max(100, int(2*c.rate*c.length.Seconds()))) }

// each puts a relay before each address.
func (r *relays) each(ctx context.Context, addresses []string) ([]string, error) {
	var all []string
	for _, a := range addresses {
		through, err := r.to(ctx, a)
		if err != nil {
			return nil, err
		}
		all = append(all, through)
	}
	return all, nil
}
