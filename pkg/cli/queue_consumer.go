package cli

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/pkg/cli/term"
	"github.com/leveretmq/leveret/pkg/management"
	"github.com/leveretmq/leveret/pkg/operator"
)

// queueConsumer is a consumer of a queue, or a process that takes messages from it. What is not known is empty or nil.
type queueConsumer struct {
	Service  string `json:"service,omitempty"`
	Instance string `json:"instance,omitempty"`
	Host     string `json:"host,omitempty"`
	PID      int    `json:"pid,omitempty"`
	Version  string `json:"version,omitempty"`
	// Consuming is false for a process that is paused, and nil where the management API does not list consumers.
	Consuming  *bool  `json:"consuming"`
	Tag        string `json:"tag,omitempty"`
	Connection string `json:"connection,omitempty"`
	User       string `json:"user,omitempty"`
	Prefetch   *int   `json:"prefetch,omitempty"`

	InFlight *int       `json:"in_flight"`
	Handled  *int64     `json:"handled"` // since the process started
	Failed   *int64     `json:"failed"`
	Taken    *time.Time `json:"last_taken_at"`
	Started  *time.Time `json:"started,omitempty"`
}

// workerTag is the consumer tag of Leveret's workers: service@host/pid, the version if there is one, and a serial number.
var workerTag = regexp.MustCompile(`^([^@\s]+)@(\S+)(?: (.+))?#\d+$`)

// consumersOf merges what the management API and the processes say about a queue. Without listed, nobody knows whether a
// process consumes.
func consumersOf(queue string, known []management.Consumer, reports []operator.Report, listed bool) []queueConsumer {
	all := []queueConsumer{}
	consuming := func(yes bool) *bool {
		if !listed {
			return nil
		}
		return &yes
	}
	for _, k := range known {
		c := queueConsumer{
			Tag: k.Tag, Connection: k.Channel.Value.Connection, User: k.Channel.Value.User, Host: k.Channel.Value.Peer,
			Prefetch: &k.Prefetch, Consuming: consuming(k.Active == nil || *k.Active),
		}
		if m := workerTag.FindStringSubmatch(k.Tag); m != nil {
			c.Service, c.Instance, c.Version = m[1], m[2], m[3]
			c.Host, c.PID = process(c.Instance)
		}
		all = append(all, c)
	}
	for _, r := range reports {
		i := slices.IndexFunc(all, func(c queueConsumer) bool { return c.Service == r.Service && c.Instance == r.Instance })
		if i < 0 {
			i = len(all)
			all = append(all, queueConsumer{Service: r.Service, Instance: r.Instance, Consuming: consuming(false)})
		}
		all[i].report(queue, r)
	}
	slices.SortStableFunc(all, func(a, b queueConsumer) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.Tag, b.Tag))
	})
	return all
}

// process takes host and process id out of an instance, host/pid or host/pid-more.
func process(instance string) (host string, pid int) {
	i := strings.LastIndexByte(instance, '/')
	if i < 0 {
		return instance, 0
	}
	number, _, _ := strings.Cut(instance[i+1:], "-")
	pid, _ = strconv.Atoi(number)
	return instance[:i], pid
}

func (c *queueConsumer) report(queue string, r operator.Report) {
	c.Host, c.PID, c.Version, c.Started = r.Host, r.PID, r.Version, &r.Started
	q := operator.Queue{}
	for _, one := range r.Queues {
		if one.Name == queue {
			q = one
			c.Taken = &one.LastTakenAt
		}
	}
	c.InFlight, c.Handled, c.Failed = &q.InFlight, &q.Handled, &q.Failed
}

func consumerTable(all []queueConsumer, now time.Time) *term.Table {
	t := term.NewTable("SERVICE", "HOST", "PROCESS#", "VERSION", "IN FLIGHT#", "HANDLED#", "FAILED#", "LAST TAKEN", "CONSUMER")
	for _, c := range all {
		pid, taken, tag := "", "", term.Plain(c.Tag)
		if c.PID != 0 {
			pid = strconv.Itoa(c.PID)
		}
		if c.Taken != nil {
			seconds := ageOf(*c.Taken, now)
			taken = secondsText(&seconds) + " ago"
		}
		if c.Consuming != nil && !*c.Consuming {
			tag = term.Painted("not consuming", term.Yellow)
		}
		t.Add(term.Plain(c.Service), term.Plain(c.Host), term.Plain(pid), term.Plain(c.Version), term.Plain(whole(c.InFlight)),
			term.Plain(whole(c.Handled)), term.Plain(whole(c.Failed)), term.Plain(taken), tag)
	}
	return t
}
