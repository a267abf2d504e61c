package health_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leveretmq/leveret/internal/testmain"
	"github.com/leveretmq/leveret/pkg/health"
	"github.com/leveretmq/leveret/pkg/management"
)

func TestMain(m *testing.M) { testmain.Leaks(m) }

var now = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// well are the facts of a system in which nothing is wrong.
func well() *health.Facts {
	up := func(q health.Queue) health.Queue { q.Seen, q.Declared = true, true; return q }
	return &health.Facts{
		Program: "leveret", Now: now, Address: "amqp://ada@rabbit:5672/", Version: "4.3.6", VHost: "/",
		Nodes: []management.Node{{Name: "rabbit@a", Running: true}, {Name: "rabbit@b", Running: true}},
		Queues: []health.Queue{
			up(health.Queue{Name: "order.place", Kind: health.Work, Service: "order", Consumers: 2}),
			up(health.Queue{Name: "order.place.dlq", Kind: health.DeadLetters, Service: "order", Of: "order.place"}),
			up(health.Queue{Name: "order.show", Kind: health.Request, Service: "order", Consumers: 2}),
			up(health.Queue{Name: "retry.1m", Kind: health.Retry, Delay: time.Minute}),
			up(health.Queue{Name: "retry.lost", Kind: health.Lost}),
			up(health.Queue{Name: "quarantine.order", Kind: health.Quarantine, Service: "order", Consumers: 1}),
			up(health.Queue{Name: "order.placed.kept", Kind: health.Kept, Service: "order", Ready: 7000, Age: 90 * 24 * time.Hour, Bytes: 1_000_000}),
		},
		Outboxes: []health.Outbox{{Service: "order"}},
	}
}

// The queues of well.
const (
	place = iota
	letters
	show
	tier
	lost
	quarantined
	stream
)

// reasons are dead letters that failed so long ago.
func reasons(ages ...time.Duration) *health.Letters {
	l := &health.Letters{Read: len(ages)}
	for _, age := range ages {
		l.Reasons = append(l.Reasons, health.Reason{Why: "unavailable/down", Error: "no answer", Count: 1, Oldest: now.Add(-age), Newest: now.Add(-age)})
	}
	return l
}

// Each fact that matters, and the one finding that is not ok then.
func TestChecks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fact func(*health.Facts)
		want string
	}{
		"a node is down": {
			func(f *health.Facts) { f.Nodes[1].Running = false },
			"failed node rabbit@b is down -> rabbitmqctl cluster_status",
		},
		"a partition": {
			func(f *health.Facts) { f.Nodes[1].Partitions = []string{"rabbit@a"} },
			"failed node rabbit@b is cut off from rabbit@a by a network partition -> rabbitmqctl cluster_status",
		},
		"alarms": {
			func(f *health.Facts) { f.Nodes[0].MemoryAlarm, f.Nodes[0].DiskAlarm = true, true },
			"failed alarm rabbit@a is short of memory and disk: the broker accepts no messages until the alarm ends -> rabbitmqctl status",
		},
		"an alarm, seen over AMQP": {
			func(f *health.Facts) { f.Nodes, f.Alarm = nil, "resource alarm: low on memory" },
			"failed alarm resource alarm: low on memory: the broker accepts no messages until the alarm ends -> rabbitmqctl status",
		},
		"a queue that is down": {
			func(f *health.Facts) { f.Queues[place].Down, f.Queues[place].Consumers = "minority", 0 },
			"failed queue order.place is not available (minority): a node that holds it may be down -> rabbitmqctl cluster_status",
		},
		"nothing takes what waits": {
			func(f *health.Facts) { f.Queues[place].Ready, f.Queues[place].Consumers = 12, 0 },
			"failed no_consumers 12 messages wait in order.place, and no worker of order takes them -> leveret queues order.place",
		},
		"nobody answers": {
			func(f *health.Facts) { f.Queues[show].Ready, f.Queues[show].Consumers = 1, 0 },
			"failed no_consumers 1 message waits in order.show, and no worker of order takes it -> leveret queues order.show",
		},
		"a service has stopped": {
			func(f *health.Facts) { f.Queues[place].Consumers, f.Queues[show].Consumers = 0, 0 },
			"warning no_consumers no worker of order takes from order.place, order.show; nothing waits there yet -> leveret queues 'order.*'",
		},
		"a worker that takes from some of its queues": {
			func(f *health.Facts) { f.Queues[show].Consumers = 0 },
			"warning no_consumers no worker of order takes from order.show; nothing waits there yet -> leveret queues order.show",
		},
		"a request queue has expired": {
			func(f *health.Facts) { f.Queues[show].Declared = false },
			"warning not_declared order does not answer: there is no order.show, so a call of it fails at once -> leveret queues",
		},
		"a new contract": {
			func(f *health.Facts) {
				f.Queues = append(f.Queues, health.Queue{Name: "order.new", Kind: health.Work, Service: "order", Seen: true})
			},
			"warning not_declared order has not declared order.new -> leveret queues",
		},
		"a stream was deleted": {
			func(f *health.Facts) { f.Queues[stream].Declared = false },
			"warning not_declared there is no order.placed.kept, so nothing is kept: order has not published that event yet, or the stream was deleted -> leveret events ls",
		},
		"the stream of a service that has nothing else": {
			func(f *health.Facts) {
				f.Queues = append(f.Queues, health.Queue{Name: "menu.ordered.kept", Kind: health.Kept, Service: "menu", Seen: true})
			},
			"",
		},
		"a service that has never run, whose command was sent": {
			func(f *health.Facts) {
				f.Queues[show].Declared = false
				f.Queues = append(f.Queues, health.Queue{Name: "order.on.mail.sent", Kind: health.Work, Service: "order", Seen: true})
			},
			"warning not_declared order has not declared order.on.mail.sent -> leveret queues\n" +
				"warning not_declared order does not answer: there is no order.show, so a call of it fails at once -> leveret queues",
		},
		"a new service": {
			func(f *health.Facts) {
				for _, name := range []string{"a", "b", "c", "d"} {
					f.Queues = append(f.Queues, health.Queue{Name: "new." + name, Kind: health.Work, Service: "new", Seen: true})
				}
			},
			"warning not_declared new does not run: it has none of its queues (new.a, new.b, new.c and 1 more) -> leveret queues",
		},
		"a dead letter of this minute": {
			func(f *health.Facts) { f.Queues[letters].Ready, f.Queues[letters].Letters = 1, reasons(12*time.Second) },
			"failed dead_letters 1 dead letter of order.place, the newest 12s old: 1 unavailable/down (no answer) -> leveret dlq ls order.place",
		},
		"old dead letters": {
			func(f *health.Facts) {
				f.Queues[letters].Ready, f.Queues[letters].Letters = 2, reasons(100*time.Hour, time.Hour)
			},
			"warning dead_letters 2 dead letters of order.place, the newest 1h old: 1 unavailable/down (no answer); " +
				"1 unavailable/down (no answer) -> leveret dlq ls order.place",
		},
		"more dead letters than were read": {
			func(f *health.Facts) {
				f.Queues[letters].Ready, f.Queues[letters].Letters = 9, reasons(100*time.Hour)
			},
			"failed dead_letters 9 dead letters of order.place; of 1 that were read: 1 unavailable/down (no answer) -> leveret dlq ls order.place",
		},
		"dead letters that were not read": {
			func(f *health.Facts) { f.Queues[letters].Ready = 9 },
			"failed dead_letters 9 dead letters of order.place -> leveret dlq ls order.place",
		},
		"a dead letter without a time": {
			func(f *health.Facts) {
				f.Queues[letters].Ready, f.Queues[letters].Letters = 1, &health.Letters{Read: 1, Reasons: []health.Reason{{Why: "rejected", Count: 1}}}
			},
			"failed dead_letters 1 dead letter of order.place: 1 rejected -> leveret dlq ls order.place",
		},
		"a dead letter of a foreign sender, without a reason": {
			func(f *health.Facts) {
				f.Queues[letters].Ready, f.Queues[letters].Letters = 1, &health.Letters{Read: 1, Reasons: []health.Reason{{Count: 1}}}
			},
			"failed dead_letters 1 dead letter of order.place: 1 for no known reason -> leveret dlq ls order.place",
		},
		"a message that has lost its queue": {
			func(f *health.Facts) { f.Queues[lost].Ready = 1 },
			"failed lost 1 message in retry.lost: its queue was gone when it was due -> leveret dlq ls retry.lost",
		},
		"quarantine": {
			func(f *health.Facts) { f.Queues[quarantined].Ready = 3 },
			"warning quarantine 3 messages may have crashed order, and will be tried one at a time -> leveret queues quarantine.order",
		},
		"quarantine of a service that has stopped": {
			func(f *health.Facts) { f.Queues[quarantined].Ready, f.Queues[quarantined].Consumers = 3, 0 },
			"failed quarantine 3 messages may have crashed order, and no worker tries them -> leveret queues quarantine.order",
		},
		"something could not be seen": {
			func(f *health.Facts) { f.Unseen = []health.Unseen{{What: health.Policies, Why: "no", Next: "ask"}} },
			"warning unseen policies: no -> ask",
		},
		"alarms could not be seen": {
			func(f *health.Facts) { f.Nodes, f.Unseen = nil, []health.Unseen{health.Alarms("no", "ask")} },
			"warning unseen alarms: no -> ask",
		},
		"nobody may ask": {
			func(f *health.Facts) {
				for i := range f.Queues {
					f.Queues[i].Seen, f.Queues[i].Declared = false, false
				}
				f.Unseen = []health.Unseen{{What: "the queues", Why: "no", Next: "ask"}}
			},
			"warning unseen the queues: no -> ask",
		},
		"an outbox that waits for its time": {
			func(f *health.Facts) {
				f.Outboxes = []health.Outbox{{Service: "order", Lag: 59 * time.Second}}
			},
			"",
		},
		"a message that cannot be sent": {
			func(f *health.Facts) {
				f.Outboxes = []health.Outbox{{Service: "order", Aside: 1, BlockedKeys: 1}}
			},
			"failed outbox 1 message in the outbox of order cannot be sent, and what has the same key waits -> leveret outbox ls order --state aside",
		},
		"messages without keys that cannot be sent": {
			func(f *health.Facts) {
				f.Outboxes = []health.Outbox{{Service: "order", Aside: 7}}
			},
			"failed outbox 7 messages in the outbox of order cannot be sent -> leveret outbox ls order --state aside",
		},
		"a contract that cannot be sent": {
			func(f *health.Facts) {
				f.Outboxes = []health.Outbox{{Service: "order", Trouble: []string{"order.placed: the queue is full"}}}
			},
			"failed outbox messages in the outbox of order wait: order.placed: the queue is full -> leveret outbox ls order",
		},
		"a message that waits in an outbox": {
			func(f *health.Facts) {
				f.Outboxes = []health.Outbox{{Service: "order", Lag: 61 * time.Minute}}
			},
			"failed outbox a message in the outbox of order has waited for 1h1m -> leveret outbox ls order",
		},
		"messages wait for their workers": {
			func(f *health.Facts) { f.Queues[place].Ready, f.Queues[place].Unacked, f.Queues[tier].Ready = 5, 2, 1 },
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := well()
			c.fact(f)
			r := health.Examine(f, health.Config{Recent: time.Hour})
			var found []string
			seen := map[string]bool{}
			for _, f := range r.Findings {
				if f.State != health.OK {
					found = append(found, fmt.Sprintf("%s %s %s -> %s", f.State, f.Check, f.Text, f.Next))
				}
				seen[f.Check] = true
			}
			require.Equal(t, c.want, strings.Join(found, "\n"))
			want := health.Healthy
			if strings.HasPrefix(c.want, "failed") {
				want = health.Unhealthy
			}
			require.Equal(t, want, r.Verdict)
			require.Equal(t, strings.HasPrefix(c.want, "failed"), r.Failed == 1)
			warnings := slices.DeleteFunc(slices.Clone(found), func(f string) bool { return !strings.HasPrefix(f, "warning") })
			require.Len(t, warnings, r.Warning)
			require.False(t, r.Empty)
			if name == "nobody may ask" {
				for _, blind := range []string{"not_declared", "no_consumers", "dead_letters", "lost", "quarantine"} {
					require.NotContains(t, seen, blind, "what was not seen is not ok")
				}
			}
		})
	}
}

// A dead letter that is older than the ids in the inbox may be of a message that was handled.
func TestInboxForgets(t *testing.T) {
	t.Parallel()
	for days, want := range map[int]string{
		29: "",
		31: "dead letters of order.place are up to 31d old, and the inbox of order keeps ids for 30d: " +
			"one that was handled before is handled again if it is replayed -> leveret dlq show order.place",
	} {
		f := well()
		f.Queues[letters].Ready = 1
		failed := f.Now.Add(-time.Duration(days) * 24 * time.Hour)
		f.Queues[letters].Letters = &health.Letters{Read: 1, Reasons: []health.Reason{{Why: "internal", Count: 1, Oldest: failed, Newest: failed}}}
		f.Outboxes[0].Remembers = 30 * 24 * time.Hour
		found := ""
		for _, f := range health.Examine(f, health.Config{Recent: time.Hour}).Findings {
			if f.Check == health.CheckOutbox && f.State == health.Warning {
				found += f.Text + " -> " + f.Next
			}
		}
		require.Equal(t, want, found)
	}
}

// Without a fault there is one ok finding for each check.
func TestHealthy(t *testing.T) {
	t.Parallel()
	r := health.Examine(well(), health.Config{Recent: time.Hour})
	require.Equal(t, health.Healthy, r.Verdict)
	var checks []string
	for _, f := range r.Findings {
		require.Equal(t, health.OK, f.State, f.Text)
		checks = append(checks, f.Check)
	}
	require.Equal(t, health.Checks(), checks)
}

func TestNothingHasRun(t *testing.T) {
	t.Parallel()
	f := well()
	for i := range f.Queues {
		f.Queues[i] = health.Queue{Name: f.Queues[i].Name, Kind: f.Queues[i].Kind, Service: f.Queues[i].Service, Seen: true}
	}
	r := health.Examine(f, health.Config{Recent: time.Hour})
	require.Equal(t, health.Healthy, r.Verdict)
	require.Zero(t, r.Warning)
	require.True(t, r.Empty)
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	r := health.Examine(&health.Facts{Program: "leveret", Address: "rabbit:5672", Unreachable: errors.New("no answer")}, health.Config{})
	require.Equal(t, health.Unreachable, r.Verdict)
	require.Equal(t, []health.Finding{{Check: "broker", State: health.Failed, Text: "no answer", Next: "leveret config show --origin"}}, r.Findings)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	f := well()
	f.Queues[letters].Ready, f.Queues[letters].Letters = 1, reasons(time.Second)
	f.Queues[lost].Ready = 1
	r := health.Examine(f, health.Config{Recent: time.Hour, Ignore: []string{"lost"}})
	require.Equal(t, 1, r.Failed)
	require.Equal(t, health.Unhealthy, r.Verdict)
	r = health.Examine(f, health.Config{Ignore: []string{"lost"}})
	require.Equal(t, health.Healthy, r.Verdict, "without Recent, dead letters are a warning")
	require.Equal(t, 1, r.Warning)
	require.Equal(t, 1, r.Waiting.Lost, "what is ignored is counted all the same")
}

// Failures come first, and the JSON has the names that are documented.
func TestReport(t *testing.T) {
	t.Parallel()
	f := well()
	f.Queues[letters].Ready, f.Queues[letters].Letters = 2, reasons(48*time.Hour, 24*time.Hour)
	f.Queues[lost].Ready = 1
	f.Queues[place].Ready, f.Queues[place].Oldest = 5, time.Minute
	f.Queues[tier].Ready = 7
	r := health.Examine(f, health.Config{Recent: time.Hour})
	require.Equal(t, health.Failed, r.Findings[0].State)
	require.Equal(t, health.Warning, r.Findings[1].State)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	require.Equal(t, "unhealthy", fields["verdict"])
	require.Equal(t, map[string]any{
		"ready": 5.0, "unacked": 0.0, "retries": 7.0, "dead_letters": 2.0, "lost": 1.0, "quarantine": 0.0, "oldest_s": 172800.0,
	}, fields["waiting"])
	last := r.Findings[len(r.Findings)-1]
	require.Equal(t, "5 messages wait for a worker, in order.place; 7 messages wait for a retry or for a later time; "+
		"the oldest message anywhere is 2d old", last.Text)
	require.Equal(t, "leveret retry ls", last.Next)
}

func TestShort(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0ms", 250 * time.Millisecond: "250ms", 90 * time.Second: "1m30s", 10*time.Minute + time.Second: "10m",
		time.Hour: "1h", 90 * time.Minute: "1h30m", 47 * time.Hour: "47h", 30 * 24 * time.Hour: "30d",
	} {
		require.Equal(t, want, health.Short(d))
	}
}
