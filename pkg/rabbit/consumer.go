package rabbit

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/pkg/internal/contexts"
)

// ErrDraining is the cause of a handler's context that ends because the consumer was stopped and the handler did not
// finish within the drain time.
var ErrDraining = errors.New("the worker is stopping")

// ConsumerConfig says how to consume. The zero value of a field is its default.
type ConsumerConfig struct {
	Queue string
	// Name returns what the queue is called at the broker now: see [Declarer.MayRename]. Default: Queue.
	Name func() string
	// DrainQueued handles the deliveries that are here when the consumer stops, within the drain time. Default: those not
	// begun go back to the queue. It is for requests: the next consumer could not know whether they were begun.
	DrainQueued bool
	// Tag begins the consumer tag, which is shown in the management UI.
	Tag string
	// Args are the arguments of basic.consume, such as x-stream-offset. Default none.
	Args Table
	// Concurrency is how many deliveries are handled at once, those of lost connections included. Default 1.
	Concurrency int
	// Prefetch is how many unsettled deliveries the broker hands out ahead. Default 4 for each of Concurrency.
	Prefetch int
	// Setup is called before each registration, to declare what is needed. After the broker said that the queue does not
	// exist, or cancelled the consumer, missing is true.
	Setup func(ctx context.Context, missing bool) error
	// OnReady is called each time the consumer is registered at the broker. It must not block. Optional.
	OnReady func()
	// Handle is called with each delivery, by several goroutines at once. Its context ends when the delivery is lost (see
	// [Incoming.Lost]), with a cause that is an ErrNotConnected; and when the consumer was stopped and the drain time is
	// over, with the cause ErrDraining. The delivery is settled as it returns; 0 leaves that to [Incoming.Abandon].
	Handle func(ctx context.Context, d *Incoming) Settlement
	// Gate stops the consumer while it is closed. Several consumers may share one. Optional.
	Gate *Gate
	// DrainTimeout is how long handlers may finish after Run's context has ended. Default 30 s.
	DrainTimeout time.Duration
	// Logger logs when consuming fails. Default slog.Default().
	Logger *slog.Logger
}

// A Consumer takes the messages of one queue, again after every loss of the connection.
type Consumer struct {
	conn   *Conn
	config ConsumerConfig
	serial atomic.Uint64
	ran    atomic.Bool
	status atomic.Pointer[error] // of nil: consuming
	apart  bool                  // consume on a connection of its own next time; only Run knows

	closers sync.WaitGroup // one for each subscription that has ended and still has deliveries: what Run waits for

	// Of all subscriptions together: the one that consumes, and earlier ones whose handlers still run.
	mu       sync.Mutex
	queue    []*Incoming            // what has arrived and is not begun, the oldest first
	begun    map[*Incoming]struct{} // what is being handled; a goroutine each
	idle     int                    // how many more goroutines wait for handOver
	stopped  bool                   // none may
	handOver chan *Incoming         // with room for one each
	survived map[string]int         // how often a connection was lost while a message was here, by its id
}

// maxTag is how many bytes of a consumer tag are ours to choose. AMQP allows 255.
const maxTag = 220

// NewConsumer makes a consumer. It does nothing before Run.
func NewConsumer(conn *Conn, config ConsumerConfig) *Consumer {
	config.Concurrency = cmp.Or(max(config.Concurrency, 0), 1)
	config.Prefetch = cmp.Or(max(config.Prefetch, 0), 4*config.Concurrency)
	config.DrainTimeout = cmp.Or(max(config.DrainTimeout, 0), 30*time.Second)
	config.Logger = cmp.Or(config.Logger, slog.Default())
	config.Gate = cmp.Or(config.Gate, new(Gate))
	if config.Name == nil {
		config.Name = func() string { return config.Queue }
	}
	config.Tag = config.Tag[:min(len(config.Tag), maxTag)]
	c := &Consumer{
		conn: conn, config: config,
		begun: make(map[*Incoming]struct{}), handOver: make(chan *Incoming, config.Concurrency), survived: make(map[string]int),
	}
	c.note(errors.New("not started"))
	return c
}

// arrived queues a delivery, and begins it if a handler is free.
func (c *Consumer) arrived(in *Incoming) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.from.dropped {
		c.letGo(in)
		return
	}
	if in.Redelivered {
		in.survived = c.survived[in.MessageId]
	}
	c.queue = append(c.queue, in)
	c.begin()
}

// begin hands deliveries that wait to goroutines, as many as there may be. The caller holds mu.
func (c *Consumer) begin() {
	for len(c.begun) < c.config.Concurrency {
		in := c.next()
		switch {
		case in == nil:
			return
		case c.idle > 0:
			c.idle--
			c.handOver <- in
		default:
			go c.handle(in)
		}
	}
}

// next takes the oldest delivery that waits; nil if there is none. The caller holds mu.
func (c *Consumer) next() *Incoming {
	for len(c.queue) > 0 {
		in := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		if in.from.work.Err() == nil && !in.Lost() {
			c.begun[in] = struct{}{}
			return in
		}
		c.letGo(in)
	}
	return nil
}

// handle is one goroutine's work: one delivery after another, until the end, or until one was abandoned. Goroutines are
// started as they are needed, but stay: a new one would have to grow its stack again.
func (c *Consumer) handle(in *Incoming) {
	defer func() {
		if in != nil && !in.settled.Load() { // the handler has ended its goroutine: what it had comes back with the channel
			in.from.acks.GiveBack(in.DeliveryTag)
			c.abandon(in)
		}
	}()
	for in != nil {
		settlement := c.config.Handle(in.from.work, in)
		if settlement != 0 {
			in.settleOnce(settlement)
		}
		next, wait := c.ended(in)
		if settlement != 0 {
			in.from.open.Done()
		}
		if in = next; wait {
			in = <-c.handOver
		}
	}
}

// ended notes that a handler has returned. It returns what its goroutine handles next, or reports that the goroutine
// has to wait for more; with neither, the goroutine ends. mine means that the delivery was not abandoned meanwhile:
// otherwise its place belongs to another goroutine. It is called before open.Done, so that Run, which waits for that,
// does not return while the handler still counts as running.
func (c *Consumer) ended(in *Incoming) (next *Incoming, wait bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, mine := c.begun[in]; !mine {
		return nil, false
	}
	delete(c.begun, in)
	if next = c.next(); next == nil && !c.stopped {
		c.idle++
		return nil, true
	}
	return next, false
}

// abandon lets others take the place of a handler that does not return.
func (c *Consumer) abandon(in *Incoming) {
	defer in.from.open.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.begun, in)
	c.begin()
}

// drop gives back what has arrived over a subscription and is not begun, and what still arrives.
func (c *Consumer) drop(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.dropped = true
	for in := range c.begun {
		if in.from == s {
			c.survive(in)
		}
	}
	c.queue = slices.DeleteFunc(c.queue, func(in *Incoming) bool {
		if in.from != s {
			return false
		}
		c.letGo(in)
		return true
	})
}

// letGo gives back a delivery that was not begun. The caller holds mu.
func (c *Consumer) letGo(in *Incoming) {
	c.survive(in)
	in.from.giveBack(in)
}

// maxSurvived bounds what a consumer remembers of lost connections.
const maxSurvived = 10_000

// survive notes that a delivery whose connection is lost comes back for that reason, and not because this process
// crashed. The caller holds mu.
func (c *Consumer) survive(in *Incoming) {
	if !in.Lost() || in.MessageId == "" {
		return
	}
	if len(c.survived) > maxSurvived {
		clear(c.survived)
	}
	c.survived[in.MessageId]++
}

// Ready returns nil while the consumer is registered at the broker, and else why it is not.
func (c *Consumer) Ready() error { return *c.status.Load() }

func (c *Consumer) note(err error) { c.status.Store(&err) }

// Running returns how many handlers run now, without those that were abandoned.
func (c *Consumer) Running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.begun)
}

// Run consumes until ctx ends. Then it takes no more deliveries, gives those not yet begun back to the queue, waits for
// the running handlers, settles what they did, for which a slow queue has ten seconds, and returns nil. The contexts of
// handlers that outlast the drain time are cancelled. For one that does not return even then, Run waits until
// [Incoming.Abandon] is called. A connection that is closed for good ends Run in the same way, with ErrClosed. Run may
// be called only once.
func (c *Consumer) Run(ctx context.Context) error {
	if err := checkShort("name of the queue", c.config.Queue); err != nil {
		return err
	}
	if c.ran.Swap(true) {
		return errors.New("the consumer runs already, or has run")
	}
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	var closed error
	missing, said := false, ""
	for failures := 0; ctx.Err() == nil; failures++ {
		open, leave := c.config.Gate.pass(ctx)
		began, apart := time.Now(), c.apart
		registered, err := c.serve(open, work, missing)
		paused := open.Err() != nil
		leave()
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrClosed) {
			closed = err
			break
		}
		if paused {
			c.note(errors.New("paused"))
			failures, missing = -1, true // what expires meanwhile is declared again
			continue
		}
		if registered && time.Since(began) > c.conn.config.Backoff.limit {
			failures, said = 0, ""
		}
		c.note(err)
		if errors.Is(err, errConnectionLost) {
			failures = -1 // the connection has waited already
			continue
		}
		level := slog.LevelDebug
		if now := err.Error(); now != said { // not at each try
			said, level = now, slog.LevelWarn
		}
		c.config.Logger.Log(ctx, level, "not consuming", "queue", c.config.Queue, "error", err)
		backoff := c.conn.config.Backoff
		if apart || c.apart { // this attempt, or the next
			backoff = costlyBackoff
		}
		_ = backoff.wait(ctx, failures, nil)
		missing = errors.Is(err, errCancelled) || errors.Is(err, ErrNotFound)
		if errors.Is(err, errCancelled) {
			// A queue that is declared and consumed again while the broker is still deleting it is lost to both: the broker
			// confirms it all, and forgets the consumer silently (seen on 3.10).
			contexts.Sleep(ctx, deletionTime)
		}
	}
	c.note(errors.New("stopped"))
	c.drain(stopWork)
	return closed
}

// costlyBackoff spaces attempts that cost a connection each.
var costlyBackoff = &Backoff{first: time.Second, limit: 30 * time.Second}

// deletionTime is how long the broker is given to delete a queue.
const deletionTime = time.Second

// drain waits for the handlers, whose contexts end with the drain time, and for the end of their channels.
func (c *Consumer) drain(stopWork context.CancelCauseFunc) {
	drained := time.AfterFunc(c.config.DrainTimeout, func() { stopWork(ErrDraining) })
	defer drained.Stop()
	c.closers.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped, c.idle = true, 0
	close(c.handOver) // ends the goroutines that wait
}

// serve consumes over one channel, and returns when that has ended, or ctx has. Handlers may still run then: they have
// the channel until they are done.
//
// A broker that cannot reach a quorum queue's Raft server closes the connection on which it is consumed (541), and with
// it the channels of all other queues. So after an attempt that has cost its connection, the next is made on another.
func (c *Consumer) serve(ctx, work context.Context, missing bool) (registered bool, err error) {
	ch, err := c.conn.Channel(ctx) // before Setup: what that declares is gone where the connection is lost before register
	if err != nil {
		return false, err
	}
	if c.config.Setup != nil {
		if err := c.config.Setup(ctx, missing); err != nil {
			ch.close(ctx)
			return false, err
		}
	}
	end := func() {}
	if c.apart {
		if ch, end, err = c.channelApart(ctx, ch); err != nil {
			return false, err
		}
	}
	s := newSubscription(work, c, ch)
	defer s.retire(end)
	err = s.register(ctx)
	if c.apart = costly(err); c.apart {
		return false, err
	} else if err != nil {
		return false, s.ofConnection(err)
	}
	c.note(nil)
	if c.config.OnReady != nil {
		c.config.OnReady()
	}
	return true, s.wait(ctx)
}

// channelApart opens a channel over a connection apart, which lives no longer than the shared one does: where the
// broker allows only so many, it may have the place of that. Where it allows no more, the shared one has to do next
// time.
func (c *Consumer) channelApart(ctx context.Context, shared *Channel) (ch *Channel, end func(), err error) {
	c.apart = false
	ctx, stop := either(ctx, shared.life)
	defer stop()
	conn, leave, err := c.conn.apart(ctx)
	if err == nil {
		if ch, err = conn.Channel(ctx); err != nil {
			leave()
		}
	}
	if err != nil {
		shared.close(ctx)
		return nil, nil, err
	}
	context.AfterFunc(shared.life, leave)
	return ch, func() {
		leave()
		shared.close(context.WithoutCancel(ctx))
	}, nil
}
