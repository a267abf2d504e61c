package compat

import "encoding/json"

// A Severity is how bad a finding is.
type Severity string

// The severities.
const (
	// Breaks: some process of the last release, or of the new one, fails while both run, or a message that waits does.
	Breaks Severity = "breaks"
	// Careful: nothing fails by itself, but somebody has to know, or has something to do.
	Careful Severity = "careful"
	// Safe: a change that harms nobody.
	Safe Severity = "safe"
)

// A Side is the one for which something breaks.
type Side string

// The sides. Publishers of events are senders, and subscribers are receivers.
const (
	Senders   Side = "senders"
	Receivers Side = "receivers"
	Callers   Side = "callers"
	Servers   Side = "servers"
)

// An Upgrade is an order of upgrade in which a change breaks nothing.
type Upgrade string

// The orders of upgrade. An order of senders first holds once the queues, retry tiers and dead letters of the contract
// have nothing from before.
const (
	NoOrder        Upgrade = ""
	ReceiversFirst Upgrade = "receivers first"
	SendersFirst   Upgrade = "senders first, then receivers once nothing older waits"
	CallersFirst   Upgrade = "callers first"
	ServersFirst   Upgrade = "servers first"
	AnyOrder       Upgrade = "any order, and delete the queue afterwards"
)

// A Finding is one difference between two locks.
type Finding struct {
	Severity Severity `json:"severity"`
	// Contract and Service name what has changed; one of them may be empty.
	Contract string `json:"contract,omitempty"`
	Service  string `json:"service,omitempty"`
	// Part is what of it: contract, payload, reply, route, queue, retry, kept, timeout, idempotent, http,
	// service.
	Part string `json:"part"`
	// Path is the field of a payload or reply: lines[].sku. Empty for the whole.
	Path string `json:"path,omitempty"`
	// Change is what was changed, for programs: added, removed, required, enum, minimum, …
	Change string `json:"change"`
	// Message says what has changed, in a sentence without its subject: "is required, and did not exist".
	Message string `json:"message"`
	// Side is the side that breaks, and Affected says which of its processes.
	Side     Side   `json:"side,omitempty"`
	Affected string `json:"affected,omitempty"`
	// Counterexample is a payload, or a reply, that is written by one side and refused by the other.
	Counterexample json.RawMessage `json:"counterexample,omitempty"`
	// Do is what to do.
	Do string `json:"do,omitempty"`
	// Upgrade is the order of upgrade in which the change breaks nothing, if there is one.
	Upgrade Upgrade `json:"upgrade,omitempty"`
}

// Orders returns the order of upgrade that is safe for each contract with a finding that breaks; [NoOrder] if none is.
func Orders(findings []Finding) map[string]Upgrade {
	orders := map[string]Upgrade{}
	for _, f := range findings {
		if f.Severity != Breaks || f.Contract == "" {
			continue
		}
		switch have, ok := orders[f.Contract]; {
		case !ok || have == AnyOrder:
			orders[f.Contract] = f.Upgrade
		case f.Upgrade != have && f.Upgrade != AnyOrder:
			orders[f.Contract] = NoOrder
		}
	}
	return orders
}
