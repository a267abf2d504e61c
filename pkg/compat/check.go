package compat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Check compares the record of a release with that of the program as it is now, and returns what differs in the order of
// the contracts, the worst first within each. Without a difference it returns nothing.
func Check(released, current *Lock) ([]Finding, error) {
	c := &checking{released: released, current: current}
	before, names := byName(released.Contracts)
	after, added := byName(current.Contracts)
	for _, name := range names {
		if now, ok := after[name]; ok {
			if err := c.contract(before[name], now); err != nil {
				return nil, err
			}
		} else {
			c.removed(before[name], current.Contracts, before)
		}
	}
	for _, name := range added {
		if _, ok := before[name]; !ok {
			c.added(after[name])
		}
	}
	c.services()
	c.tiers()
	rank := map[Severity]int{Breaks: 0, Careful: 1, Safe: 2}
	slices.SortStableFunc(c.found, func(x, y Finding) int {
		if x.Contract != y.Contract {
			return compareNames(x.Contract, y.Contract)
		}
		return rank[x.Severity] - rank[y.Severity]
	})
	return c.found, nil
}

// compareNames puts what belongs to no contract last.
func compareNames(x, y string) int {
	switch {
	case x == "":
		return 1
	case y == "" || x < y:
		return -1
	default:
		return 1
	}
}

// checking is one comparison.
type checking struct {
	released, current *Lock
	found             []Finding
}

func (c *checking) add(f Finding) { c.found = append(c.found, f) }

// contract compares one contract that both have.
func (c *checking) contract(old, now Contract) error {
	if old.Kind != now.Kind {
		c.add(Finding{
			Severity: Breaks, Contract: now.Name, Part: "contract", Change: "kind",
			Message: fmt.Sprintf("is %s, and was %s", article(now.Kind), article(old.Kind)),
			Side:    sidesOf(old.Kind).reader, Affected: "both sides: each waits on an exchange on which the other does not write",
			Do: "keep " + old.Name + " as it was, and give the new contract another name",
		})
		return nil
	}
	if old.Owner != now.Owner {
		c.add(Finding{
			Severity: Breaks, Contract: now.Name, Part: "contract", Change: "owner",
			Message: fmt.Sprintf("belongs to %s, and belonged to %s", now.Owner, old.Owner),
			Side:    sidesOf(old.Kind).writer, Affected: "the exchanges and permissions of both services",
			Do: "make a new contract in the name of its new owner, and take the old one away later",
		})
	}
	if old.ContentType != now.ContentType {
		c.add(Finding{
			Severity: Breaks, Contract: now.Name, Part: "contract", Change: "content_type",
			Message: fmt.Sprintf("travels as %s, and travelled as %s", cmp.Or(now.ContentType, "JSON"), cmp.Or(old.ContentType, "JSON")),
			Side:    sidesOf(old.Kind).reader, Affected: "both sides, and messages that wait: if the encoding changed with it, neither reads what the other writes",
			Do: "keep " + old.Name + " as it was, and make a new contract " + old.Name + ".v2; accept it if the name alone is new",
		})
	}
	c.routes(old, now)
	c.queues(old, now)
	c.policies(old, now)
	c.kept(old, now)
	if err := c.payloads(now, "payload", old.Payload, now.Payload, old.Kept != nil); err != nil {
		return err
	}
	if old.Kind != "request" {
		return nil
	}
	return c.payloads(now, "reply", old.Reply, now.Reply, false)
}

// payloads compares two schemas in both directions. Kept says that messages of the last release are kept.
func (c *checking) payloads(now Contract, part string, before, after json.RawMessage, kept bool) error {
	if bytes.Equal(compact(before), compact(after)) {
		return nil
	}
	docs := [2]*document{}
	for i, text := range []json.RawMessage{before, after} {
		var err error
		if docs[i], err = newDocument(text); err != nil {
			which := "released"
			if i == 1 {
				which = "current"
			}
			return fmt.Errorf("%s: the %s schema of the %s: %w", now.Name, which, part, err)
		}
	}
	s := shape{contract: now.Name, kind: now.Kind, part: part, kept: kept}
	forward, backward := gaps(docs[0], docs[1]), gaps(docs[1], docs[0])
	for _, g := range forward {
		c.add(s.finding(g, true))
	}
	for _, g := range backward {
		c.add(s.finding(g, false))
	}
	c.optional(s, docs[0].node(""), docs[1].node(""), "", map[string]bool{})
	return nil
}

// optional lists optional fields that were added or taken away.
func (c *checking) optional(s shape, old, now node, path string, seen map[string]bool) {
	id := old.id() + now.id()
	if seen[id] || len(c.found) > 10*maxGaps {
		return
	}
	seen[id] = true
	switch {
	case old.is("array") && now.is("array") && old.has("items") && now.has("items"):
		c.optional(s, old.child("items"), now.child("items"), path+"[]", seen)
	case old.isMap() && now.isMap() && old.others().exists() && now.others().exists():
		c.optional(s, old.others(), now.others(), join(path, "*"), seen)
	}
	for _, name := range old.properties() {
		was, is := old.property(name), now.property(name)
		switch {
		case is.exists():
			c.optional(s, was, is, join(path, name), seen)
		case !now.isMap():
			other := renamed(was, old, now)
			if other != "" || !contains(old.required(), name) { // a required one is a gap
				c.add(s.gone(join(path, name), other))
			}
		}
	}
	for _, name := range now.properties() {
		if !old.property(name).exists() && !old.isMap() && !contains(now.required(), name) {
			c.add(Finding{
				Severity: Safe, Contract: s.contract, Part: s.part, Path: join(path, name), Change: "added",
				Message: "is new, and optional",
			})
		}
	}
}

// renamed returns a new field that has the schema of one that is gone, if there is exactly one.
func renamed(was, old, now node) string {
	found := ""
	for _, name := range now.properties() {
		if old.property(name).exists() || key(now.property(name).keys) != key(was.keys) {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

// removed reports a contract that is gone.
func (c *checking) removed(old Contract, now []Contract, before map[string]Contract) {
	sides := sidesOf(old.Kind)
	f := Finding{
		Severity: Breaks, Contract: old.Name, Part: "contract", Change: "removed",
		Message: "is gone", Side: sides.writer, Affected: string(sides.writer) + " that are not upgraded yet",
	}
	switch old.Kind {
	case "command":
		f.Affected += ", and commands that wait: nobody takes them any more"
		f.Upgrade = SendersFirst
		f.Do = fmt.Sprintf("take it away from its senders first; when %s and its dead letters are empty, take away the handler and delete the queue", queueNames(old))
	case "request":
		f.Affected += ": no service answers"
		f.Upgrade = CallersFirst
		f.Do = "take it away from its callers first"
	default:
		f.Side, f.Upgrade = sides.reader, ReceiversFirst
		f.Affected = "receivers that are not upgraded yet: nobody publishes it any more"
		f.Do = "take it away from its subscribers first, and delete their queues when they are empty"
		if len(old.Queues) == 0 {
			f.Affected = "receivers outside of this catalog: nobody publishes it any more"
		}
	}
	for _, other := range now {
		if _, had := before[other.Name]; !had && other.Kind == old.Kind && bytes.Equal(compact(other.Payload), compact(old.Payload)) {
			f.Message = "is gone; " + other.Name + " is new, and carries the same"
			f.Do = "a name is the identity of a contract: keep " + old.Name + " beside " + other.Name + " until nobody sends it; " + f.Do
			break
		}
	}
	c.add(f)
}

func (c *checking) added(now Contract) {
	f := Finding{Severity: Safe, Contract: now.Name, Part: "contract", Change: "added", Message: "is " + article("new "+now.Kind)}
	switch now.Kind {
	case "request":
		f.Upgrade = ServersFirst
	default:
		f.Upgrade = ReceiversFirst
	}
	c.add(f)
}

// services lists services that came or went, and the roles that changed. What breaks by that is found with the contracts.
func (c *checking) services() {
	before, after := map[string]Service{}, map[string]Service{}
	for _, s := range c.released.Services {
		before[s.Name] = s
	}
	for _, s := range c.current.Services {
		after[s.Name] = s
		old, had := before[s.Name]
		if !had {
			c.add(Finding{Severity: Safe, Service: s.Name, Part: "service", Change: "added", Message: "is a new service"})
			continue
		}
		for _, role := range []struct {
			verb     string
			old, now []string
		}{
			{"handles", old.Handles, s.Handles},
			{"answers", old.Answers, s.Answers},
			{"subscribes to", old.Subscribes, s.Subscribes},
			{"sends", old.Sends, s.Sends},
			{"calls", old.Calls, s.Calls},
			{"publishes", old.Publishes, s.Publishes},
			{"reads", old.Reads, s.Reads},
		} {
			for _, name := range role.now {
				if !contains(role.old, name) {
					c.add(Finding{
						Severity: Safe, Service: s.Name, Part: "service", Change: "added", Message: role.verb + " " + name + " now",
						Do: "its user on the broker may need further permissions",
					})
				}
			}
			for _, name := range role.old {
				if !contains(role.now, name) {
					c.add(Finding{Severity: Safe, Service: s.Name, Part: "service", Change: "removed", Message: role.verb + " " + name + " no more"})
				}
			}
		}
	}
	for _, s := range c.released.Services {
		if _, ok := after[s.Name]; !ok {
			c.add(Finding{
				Severity: Careful, Service: s.Name, Part: "service", Change: "removed", Message: "is gone",
				Do: "stop its processes, and delete quarantine." + s.Name + " if it is there and empty; its queues are listed with their contracts",
			})
		}
	}
}

func compact(text json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		return text
	}
	return b.Bytes()
}

func article(noun string) string {
	if noun == "event" {
		return "an " + noun
	}
	return "a " + noun
}
