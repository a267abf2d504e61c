package health

import (
	"fmt"
	"time"
)

// waiting counts what waits. Whether that is much depends on the system.
func (e *examination) waiting() Waiting {
	var w Waiting
	var most *Queue
	var oldest time.Duration
	queues := 0
	for q := range e.each() {
		oldest = max(oldest, q.Oldest, q.Letters.oldest(e.Now))
		switch q.Kind {
		case Work, Request:
			w.Ready += q.Ready
			w.Unacked += q.Unacked
			if q.Ready > 0 {
				queues++
			}
			if q.Ready > 0 && (most == nil || q.Ready > most.Ready) {
				most = q
			}
		case Retry:
			w.Retries += q.Ready
		case DeadLetters:
			w.DeadLetters += q.Ready
		case Lost:
			w.Lost += q.Ready
		case Quarantine:
			w.Quarantine += q.Ready
		case Kept:
		}
	}
	text, next := "no message waits for a worker", ""
	if w.Ready > 0 {
		next = e.Program + " queues"
	}
	switch {
	case queues == 1:
		text = fmt.Sprintf("%s for a worker, in %s", wait(w.Ready), most.Name)
	case queues > 1:
		text = fmt.Sprintf("%s for a worker in %d queues, most in %s: %d", wait(w.Ready), queues, most.Name, most.Ready)
	}
	if w.Unacked > 0 {
		text += fmt.Sprintf("; %d being handled", w.Unacked)
	}
	if w.Retries > 0 {
		text += fmt.Sprintf("; %s for a retry or for a later time", wait(w.Retries))
		next = e.Program + " retry ls"
	}
	if oldest > 0 {
		seconds := oldest.Seconds()
		w.Oldest = &seconds
		text += fmt.Sprintf("; the oldest message anywhere is %s old", age(oldest))
	}
	e.add(CheckWaiting, OK, nil, next, "%s", text)
	return w
}

// oldest returns the age of the oldest letter that was read.
func (l *Letters) oldest(now time.Time) time.Duration {
	var age time.Duration
	if l != nil {
		for _, r := range l.Reasons {
			if !r.Oldest.IsZero() {
				age = max(age, now.Sub(r.Oldest))
			}
		}
	}
	return age
}
