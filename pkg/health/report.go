package health

import (
	"cmp"
	"slices"
	"time"
)

// A State is how one check ended.
type State string

// The states. A warning is worth a look, and does not make a system unhealthy.
const (
	OK      State = "ok"
	Warning State = "warning"
	Failed  State = "failed"
)

// A Verdict is what the findings amount to.
type Verdict string

// The verdicts.
const (
	Healthy     Verdict = "healthy"
	Unhealthy   Verdict = "unhealthy"
	Unreachable Verdict = "unreachable" // the broker
)

// The codes of the checks. They are stable: programs select findings by them.
const (
	CheckBroker      = "broker"       // is it there, and in which version
	CheckNode        = "node"         // is every node of the broker up and connected to the others
	CheckAlarm       = "alarm"        // is a node short of memory or disk
	CheckQueue       = "queue"        // is every queue available
	CheckNotDeclared = "not_declared" // does every queue exist
	CheckNoConsumers = "no_consumers" // does something take what waits
	CheckDeadLetters = "dead_letters" // did messages fail for good
	CheckLost        = "lost"         // did messages come back from a retry and find no queue
	CheckQuarantine  = "quarantine"   // may messages have crashed their worker
	CheckPolicy      = "policy"       // does a policy of the broker harm a queue
	CheckOutbox      = "outbox"       // are messages sent that were stored in a transaction
	CheckUnseen      = "unseen"       // could everything be looked at
	CheckWaiting     = "waiting"      // what waits, and since when
)

// Checks are the codes of all checks, in the order in which they are made.
func Checks() []string {
	return []string{
		CheckBroker, CheckNode, CheckAlarm, CheckQueue, CheckNotDeclared, CheckNoConsumers, CheckDeadLetters, CheckLost,
		CheckQuarantine, CheckPolicy, CheckOutbox, CheckUnseen, CheckWaiting,
	}
}

// A Finding is one line of a report.
type Finding struct {
	Check   string `json:"check"`
	State   State  `json:"state"`
	Queue   string `json:"queue,omitempty"`
	Service string `json:"service,omitempty"`
	Text    string `json:"text"`
	// Next is the command that shows it or fixes it, or what to do.
	Next string `json:"next,omitempty"`
}

// Waiting is how many messages wait where, in the queues that could be seen.
type Waiting struct {
	Ready       int `json:"ready"` // in work queues and request queues
	Unacked     int `json:"unacked"`
	Retries     int `json:"retries"`
	DeadLetters int `json:"dead_letters"`
	Lost        int `json:"lost"`
	Quarantine  int `json:"quarantine"`
	// Oldest is the age of the oldest message of all, in seconds; nil if unknown.
	Oldest *float64 `json:"oldest_s"`
}

// A Report is the verdict and its reasons.
type Report struct {
	Verdict Verdict `json:"verdict"`
	Address string  `json:"broker"`
	Version string  `json:"version,omitempty"`
	// Empty is true if no service has ever run here, as far as could be seen.
	Empty   bool    `json:"empty"`
	Failed  int     `json:"failed"`
	Warning int     `json:"warnings"`
	Waiting Waiting `json:"waiting"`
	// Findings start with what failed, then come the warnings. A check that found nothing has one finding, which is ok.
	Findings []Finding `json:"findings"`
}

// Config says what counts as unhealthy.
type Config struct {
	// Recent is how old the newest dead letter of a queue may be for the queue to fail its check; older ones are a
	// warning. If the age is unknown, it counts as recent. Zero or less: dead letters are never more than a warning.
	Recent time.Duration
	// Ignore are codes of checks that are left out.
	Ignore []string
}

// Examine makes all checks on facts.
func Examine(f *Facts, c Config) Report {
	r := Report{Verdict: Healthy, Address: f.Address, Version: f.Version}
	if f.Unreachable != nil {
		r.Verdict = Unreachable
		r.Findings = []Finding{{
			Check: CheckBroker, State: Failed, Text: f.Unreachable.Error(), Next: cmp.Or(f.Next, f.Program+" config show --origin"),
		}}
		r.Failed = 1
		return r
	}
	e := &examination{Facts: f, Config: c}
	for _, check := range []func(){
		e.broker, e.alarm, e.queues, e.undeclared, e.consumers, e.deadLetters, e.lost, e.quarantine, e.policies, e.outboxes, e.unseen,
	} {
		check()
	}
	r.Waiting, r.Empty = e.waiting(), e.empty()
	r.Findings = slices.DeleteFunc(e.findings, func(f Finding) bool { return slices.Contains(c.Ignore, f.Check) })
	order := []State{Failed, Warning, OK}
	slices.SortStableFunc(r.Findings, func(x, y Finding) int {
		return cmp.Compare(slices.Index(order, x.State), slices.Index(order, y.State))
	})
	for _, finding := range r.Findings {
		switch finding.State {
		case OK:
		case Warning:
			r.Warning++
		case Failed:
			r.Failed++
			r.Verdict = Unhealthy
		}
	}
	return r
}
