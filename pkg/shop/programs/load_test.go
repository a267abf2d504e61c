//go:build cluster && unix

package programs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/pkg/leveret"
	"github.com/leveretmq/leveret/pkg/topology"
	"github.com/leveretmq/leveret/queues"
)

// probe is a request that may be handled once at most.
var probe = leveret.NewRequest[number, number]("prober.probe", leveret.Timeout(5*time.Second))

type number struct{ N int }

// load places orders and makes calls until it is stopped. Its counts are by what was done and how it ended.
type load struct {
	began  time.Time
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu      sync.Mutex
	counts  map[string]int
	orders  []string      // accepted
	probed  map[int]int   // how often each probe was handled
	answers map[int]error // to each probe
	wrong   []string
	longest time.Duration // until an order was accepted
}

func startLoad(t *testing.T, s *system, urls []string) *load {
	t.Helper()
	ada := s.signUp(t, "ada@example.com")
	customer := s.do(t, "GET", "/me", ada.AccessToken, "", nil).UserID
	ctx := t.Context() // of what is done; what has begun is finished
	stopped, cancel := context.WithCancel(ctx)
	l := &load{began: time.Now(), cancel: cancel, counts: map[string]int{}, probed: map[int]int{}, answers: map[int]error{}}
	conn, err := leveret.Connect(ctx, leveret.ConnConfig{URLs: urls, RequestQueueType: topology.Quorum})
	require.NoError(t, err)
	service := leveret.NewService("prober", leveret.Calls(probe, queues.ShowOrder), leveret.Answers(probe))
	client, err := leveret.NewClient(conn, service, leveret.ClientConfig{}) // direct reply-to; the services have reply queues
	require.NoError(t, err)
	handlers := leveret.NewHandlers(service, leveret.HandlersConfig{})
	probe.Answer(handlers, func(_ context.Context, q number) (number, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.probed[q.N]++
		return q, nil
	})
	ready := make(chan struct{})
	worker, err := leveret.NewWorker(conn, handlers, leveret.WorkerConfig{OnReady: func() { close(ready) }})
	require.NoError(t, err)
	serving, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(serving) }()
	t.Cleanup(func() { // after l.stop
		cancel()
		l.all.Wait()
		end()
		require.NoError(t, <-ended)
		require.NoError(t, client.Close(context.Background()))
		require.NoError(t, conn.Close(context.Background()))
	})
	<-ready

	known := l.placeOne(ctx, s, ada.AccessToken)
	require.NotEmpty(t, known, "%v", l.wrong)
	for range 2 {
		l.repeat(stopped, func() { l.placeOne(ctx, s, ada.AccessToken) })
	}
	l.repeat(stopped, func() {
		a, _, err := s.ask(ctx, "GET", "/orders/"+known, ada.AccessToken, "", nil)
		l.answered("GET an order", a, err)
	})
	l.repeat(stopped, func() {
		_, err := queues.ShowOrder.Call(ctx, client, queues.ShowOrderRequest{OrderID: known, CustomerID: customer})
		l.called("a call, idempotent", err)
	})
	var n int
	l.repeat(stopped, func() {
		n++
		_, err := probe.Call(ctx, client, number{n})
		l.called("a call, once at most", err)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.answers[n] = err
	})
	return l
}

// repeat does something again and again.
func (l *load) repeat(stopped context.Context, do func()) {
	l.all.Go(func() {
		ticker := time.NewTicker(25 * time.Millisecond)
		defer ticker.Stop()
		for stopped.Err() == nil {
			do()
			<-ticker.C
		}
	})
}

// count counts how something ended.
func (l *load) count(what, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what+": "+how]++
}

// called counts a call, whose error must say why it failed.
func (l *load) called(what string, err error) {
	code := leveret.CodeOf(err)
	switch {
	case err == nil:
		l.count(what, "answered")
	case errors.Is(err, leveret.ErrOutcomeUnknown):
		l.count(what, code.String()+", outcome unknown")
	default:
		l.count(what, code.String()+", not handled")
	}
	if err != nil && code != leveret.Unavailable && code != leveret.DeadlineExceeded && code != leveret.Aborted {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", what, err))
	}
}

// answered counts an answer of the gateway, and reports whether it is one that a customer should get: what was asked for,
// or that a part of the shop is away.
func (l *load) answered(what string, a answer, err error) bool {
	l.count(what, strings.TrimSpace(fmt.Sprint(a.Status, " ", a.Code, " ", a.Reason)))
	fine := false
	switch a.Status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
		fine = err == nil
	case http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		fine = a.Code == leveret.Unavailable.String() || a.Code == leveret.DeadlineExceeded.String()
	}
	if !fine {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.wrong = append(l.wrong, fmt.Sprintf("%s: %d %s %s, %v", what, a.Status, a.Code, a.Reason, err))
	}
	return fine
}

// placeOne places an order until it is accepted, and returns its id; or none, after an answer that is wrong.
func (l *load) placeOne(ctx context.Context, s *system, token string) string {
	key, began := uuid.NewString(), time.Now()
	again := time.NewTicker(25 * time.Millisecond)
	defer again.Stop()
	for ctx.Err() == nil {
		a, _, err := s.ask(ctx, "POST", "/orders", token, key, order("TEA-GREEN", 1))
		if !l.answered("POST an order", a, err) {
			break
		}
		if a.Status == http.StatusAccepted {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.orders = append(l.orders, a.OrderID)
			l.longest = max(l.longest, time.Since(began))
			return a.OrderID
		}
		<-again.C
	}
	return ""
}

// say logs what happens, and when.
func (l *load) say(t *testing.T, format string, args ...any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Logf("%5.1f s, %d orders: %s", time.Since(l.began).Seconds(), len(l.orders), fmt.Sprintf(format, args...))
}

// stop ends the load, logs its counts, and returns the orders that were accepted.
func (l *load) stop(t *testing.T) []string {
	t.Helper()
	l.cancel()
	l.all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(l.counts)) {
		t.Logf("%7d  %s", l.counts[what], what)
	}
	t.Logf("the longest wait until an order was accepted: %s", l.longest.Round(time.Millisecond))
	for n, err := range l.answers {
		switch handled := l.probed[n]; {
		case handled > 1, err == nil && handled == 0:
			l.wrong = append(l.wrong, fmt.Sprintf("the call %d was handled %d times: %v", n, handled, err))
		case err != nil && handled > 0 && !errors.Is(err, leveret.ErrOutcomeUnknown):
			l.wrong = append(l.wrong, fmt.Sprintf("the call %d was handled, but its error does not say so: %v", n, err))
		}
	}
	require.Empty(t, l.wrong[:min(5, len(l.wrong))])
	return l.orders
}
