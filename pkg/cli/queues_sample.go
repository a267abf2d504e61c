package cli

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/operator"
	"github.com/leveretmq/leveret/pkg/rabbit"
)

// patience is how long the connection may be away before that is reported.
func (l *look) patience() time.Duration { return max(l.app.settings.connectTimeout, time.Second) }

// reports asks the services' processes about the queues that exist. It returns what they said, by queue.
func (l *look) reports(ctx context.Context, queues []shownQueue, states []state) map[string][]operator.Queue {
	if l.conn.Publishing().State().Phase == rabbit.Blocked {
		return nil // the broker reads nothing
	}
	processes, own := map[string]int{}, map[string]int{}
	for i, q := range queues {
		consumers := states[i].Consumers
		if known := l.listing.queues[q.name].Consumers; states[i].err != nil && known != nil {
			consumers = *known // of a queue that this user may not ask for
		}
		if q.kind == kindWork && (states[i].err == nil || consumers > 0) {
			processes[q.service] = max(processes[q.service], consumers)
		}
		if q.kind == kindProcess {
			own[q.service+" "+q.stands] += consumers
			processes[q.service] = max(processes[q.service], own[q.service+" "+q.stands])
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	found := map[string][]operator.Queue{}
	l.unasked, l.answers = nil, map[string][]operator.Report{}
	for service, consumers := range processes {
		asking.Go(func() {
			reports, err := l.asker.Ask(ctx, service, consumers)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				l.unasked = err
			}
			l.answers[service] = reports
			for _, r := range reports {
				for _, q := range r.Queues {
					found[q.Name] = append(found[q.Name], q)
				}
			}
		})
	}
	asking.Wait()
	return found
}

func (l *look) rows(queues []shownQueue, states []state, reports map[string][]operator.Queue) ([]queueRow, error) {
	now := time.Now()
	rows := make([]queueRow, 0, len(queues))
	ready := make(map[string]int, len(queues))
	for i, q := range queues {
		m, listed := l.listing.queues[q.name]
		row := newQueueRow(q, m, now)
		switch err := states[i].err; {
		case err == nil:
			s := states[i]
			row.Declared, row.Ready, row.Consumers = true, &s.Ready, &s.Consumers
			ready[q.name] = s.Ready
		case errors.Is(err, rabbit.ErrNotFound):
			row = newQueueRow(q, management.Queue{}, now)
		case l.listing.queues != nil:
			row.Declared = listed // some seconds late
			if row.Ready != nil {
				ready[q.name] = *row.Ready
			}
		default:
			return nil, Fail(ExitUnreachable, nextOf(l.app.reading(err))+"; or "+hint(l.listing.err), "%w; and %w", err, l.listing.err)
		}
		row.age(reports[q.name], now)
		row.estimate(l.last, now.Sub(l.lastTime))
		rows = append(rows, row)
	}
	l.last, l.lastTime = ready, now
	return rows, nil
}

// alarm says that the broker takes no messages, and why; empty if that is not known.
func (l *look) alarm() string {
	var low []string
	for _, n := range l.listing.nodes {
		for _, resource := range n.Alarms() {
			low = append(low, "low on "+resource+" ("+n.Name+")")
		}
	}
	if s := l.conn.Publishing().State(); len(low) == 0 && s.Phase == rabbit.Blocked {
		low = append(low, strings.TrimPrefix(s.Err.Error(), "resource alarm: "))
	}
	if len(low) == 0 {
		return ""
	}
	return "ALARM: " + strings.Join(low, ", ") + ": until that is over, the broker takes no messages, and services cannot be asked what they do"
}

// warnOfTrouble warns once about what the samples lack.
func (l *look) warnOfTrouble() {
	if l.warned {
		return
	}
	if l.coming != nil && l.listing.queues == nil && !l.queuesOptions.watch {
		l.app.Warn("the management API has not answered within %v; unacked messages and rates are unknown; with --watch they are shown when they come", listTime)
	}
	if err := l.listing.err; err != nil {
		l.warned = true
		l.app.Warn("%v; unacked messages and rates are unknown; %s", err, hint(err))
	}
	if errors.Is(l.unasked, rabbit.ErrRefused) {
		l.warned = true
		l.app.Warn("%v; the oldest message of a quorum queue is unknown; allow the user to write to that exchange", l.unasked)
	}
}
