package service

import (
	"context"
	"errors"
	"time"
)

// serve runs the worker and the program's functions until ctx ends or one of them does. Then it ends them in order: the
// functions of Serve, the worker, and the functions of Go.
func (l *life) serve(ctx context.Context) error {
	kept := context.WithoutCancel(ctx)
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // only the first failure counts
		}
	}

	var consuming []function
	if l.serves() {
		consuming = append(consuming, function{"worker", l.worker.Run})
		l.ready.add("", l.worker.Ready)
	} else {
		l.ready.add("", l.rt.Conn.Ready)
	}
	l.ready.serve()
	beside := start(kept, l.rt.beside, fail)
	worker := start(kept, consuming, fail)
	servers := start(kept, l.rt.servers, fail)
	announcing := start(kept, []function{{"announce", l.announce}}, func(error) {})

	select {
	case <-ctx.Done():
		l.ready.drain()
		l.log.InfoContext(ctx, "draining", "reason", reason(ctx))
	case err := <-failed:
		l.ready.drain()
		l.log.ErrorContext(ctx, "draining", "reason", "failure", "error", err)
	}
	limit := l.settings.worker.DrainTimeout
	_ = announcing.end(limit)
	return errors.Join(servers.end(limit), worker.end(l.drainLimit()), beside.end(limit))
}

// drainLimit is how long the worker may take to end: the drain time, the time after which a handler counts as stuck,
// and a margin for the broker to answer.
func (l *life) drainLimit() time.Duration {
	return l.settings.worker.DrainTimeout + l.settings.worker.StuckAfter + 15*time.Second
}

// announce waits until the program is ready and logs that once. Do not change the record's message and attributes:
// other programs read it.
func (l *life) announce(ctx context.Context) error {
	for pause := 10 * time.Millisecond; len(l.ready.reasons()) > 0; pause = min(2*pause, 250*time.Millisecond) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
	broker, version := l.rt.Conn.Broker()
	queues := []string{}
	if l.worker != nil {
		for _, q := range l.worker.Service().WorkQueues(l.rt.Conn.Names()) {
			queues = append(queues, q.Name)
		}
	}
	l.log.InfoContext(ctx, "ready", "health", l.health.address(), "queues", queues, "broker", broker,
		"broker_version", version, "version", l.program.Version)
	return nil
}
