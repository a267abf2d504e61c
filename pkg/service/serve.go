package service

import (
	"context"
	"errors"
	"slices"
	"time"
)

// serve runs the servers, the worker and the program's functions until ctx ends or one of them does. Then it ends them in
// order: the servers and the functions of Serve, the worker, and the functions of Go.
func (l *life) serve(ctx context.Context) error {
	kept := context.WithoutCancel(ctx)
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default: // only the first failure counts
		}
	}

	var consuming, listening []function
	for _, s := range l.servers {
		listening = append(listening, function{s.name, s.run})
		l.ready.part(part{name: s.name, entrance: true, ask: s.ready})
	}
	if l.consumes() {
		consuming = append(consuming, function{"worker", l.worker.Run})
		l.ready.part(part{name: partBroker, entrance: true, ask: l.worker.Ready})
	} else {
		l.ready.part(part{name: partBroker, ask: l.rt.Conn.Ready})
	}
	besides := slices.Clone(l.rt.beside)
	if l.consumes() || l.rt.outbox != nil {
		besides = append(besides, function{"operators", l.answerOperators})
	}
	if len(l.rt.required.checks) > 0 {
		l.ready.wait("the required checks")
		_ = l.rt.required.look(ctx) // /readyz says what it found
		besides = append(besides, function{"checks", l.rt.required.run})
	}
	if !l.connectBy.IsZero() {
		besides = append(besides, function{partBroker, l.reach})
	}
	beside := start(kept, besides, fail)
	worker := start(kept, consuming, fail)
	servers := start(kept, l.rt.servers, fail)
	listeners := start(kept, listening, fail)
	l.ready.serve()
	announcing := start(kept, []function{{"announce", l.announce}}, func(error) {})

	select {
	case <-ctx.Done():
		l.drainBegins()
		l.log.InfoContext(ctx, "draining", "reason", reason(ctx))
		l.linger(failed)
	case err := <-failed:
		l.drainBegins()
		l.log.ErrorContext(ctx, "draining", "reason", "failure", "error", err)
	}
	limit := l.settings.worker.DrainTimeout
	_ = announcing.end(limit)
	listeners.stop()
	servers.stop()
	return errors.Join(servers.end(limit), listeners.end(l.drainLimit()), worker.end(l.drainLimit()), beside.end(limit))
}

// drainBegins fails /readyz, and lets the servers ask their clients to leave.
func (l *life) drainBegins() {
	l.ready.drain()
	for _, s := range l.servers {
		if s.leave != nil {
			s.leave()
		}
	}
}

// linger goes on serving for health.drain_delay, unless something fails meanwhile.
func (l *life) linger(failed <-chan error) {
	if len(l.servers) == 0 || l.settings.drainDelay == 0 {
		return
	}
	timer := time.NewTimer(l.settings.drainDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-failed: //nolint:errcheck // the function's end reports it
	}
}

// drainLimit is how long the worker and the servers may each take to end: the drain time, the time after which a handler
// counts as stuck, and a margin for the broker to answer.
func (l *life) drainLimit() time.Duration {
	return l.settings.worker.DrainTimeout + l.settings.worker.StuckAfter + 15*time.Second
}

// announce waits until the program is ready and logs that once. Do not change the record's message and attributes:
// other programs read it.
func (l *life) announce(ctx context.Context) error {
	for pause := 10 * time.Millisecond; !l.ready.complete(); pause = min(2*pause, 250*time.Millisecond) {
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
			if !slices.Contains(queues, q.Name) { // it has several contracts
				queues = append(queues, q.Name)
			}
		}
	}
	l.log.InfoContext(ctx, "ready", "health", l.health.address(), "http", l.served("http"), "grpc", l.served("grpc"), "queues", queues, "broker", broker,
		"broker_version", version, "version", l.program.Version)
	return nil
}
