package compat

import (
	"encoding/json"
	"fmt"
	"strings"
)

// sides are the two sides of a kind of contract.
type sides struct{ writer, reader Side }

func sidesOf(kind string) sides {
	if kind == "request" {
		return sides{Callers, Servers}
	}
	return sides{Senders, Receivers}
}

// shape is the payload or the reply of a contract.
type shape struct {
	contract, kind, part string
	kept                 bool // what the last release wrote stays for long
}

// finding words a gap. Forward: the last release writes, the new program reads.
func (s shape) finding(g gap, forward bool) Finding {
	f := Finding{
		Severity: Breaks, Contract: s.contract, Part: s.part, Path: g.path, Change: g.keyword,
		Message: describe(g, forward),
	}
	if g.shown {
		if text, err := json.Marshal(g.whole); err == nil {
			f.Counterexample = text
		}
	}
	s.direct(&f, forward)
	switch {
	case g.open:
		f.Severity = Careful
		f.Message += "; no value was found that one accepts and the other refuses, but there may be some"
		f.Do = "compare the two by hand; if one refuses what the other accepts: " + f.Do
	case !g.shown:
		f.Message += fmt.Sprintf("; for example, %s has the value %s", orWhole(g.path), brief(g.value))
	}
	return f
}

// direct sets the side that breaks, what to do, and the order of upgrade that is safe.
func (s shape) direct(f *Finding, forward bool) {
	next := s.contract + ".v2"
	switch {
	case s.part == "reply" && forward:
		f.Side, f.Affected, f.Upgrade = Callers, "callers that are upgraded before the servers that answer them", ServersFirst
		f.Do = "upgrade servers first, or accept the old replies too"
	case s.part == "reply":
		f.Side, f.Affected, f.Upgrade = Callers, "callers that are not upgraded yet", CallersFirst
		f.Do = "upgrade callers first, or make a new contract " + next
	case s.kind == "request" && forward:
		f.Side, f.Affected, f.Upgrade = Callers, "callers that are not upgraded yet", CallersFirst
		f.Do = "accept the old requests too, upgrade callers first, or make a new contract " + next
	case s.kind == "request":
		f.Side, f.Affected, f.Upgrade = Servers, "servers that are not upgraded yet", ServersFirst
		f.Do = "upgrade servers first"
	case forward && s.kept:
		f.Side = Senders
		f.Affected = "senders that are not upgraded yet, messages that wait in queues, retry tiers and dead letters, and events that are kept"
		f.Do = "accept the old values too, convert them with leveret.Older, or make a new contract " + next
	case forward:
		f.Side, f.Upgrade = Senders, SendersFirst
		f.Affected = "senders that are not upgraded yet, and messages that wait in queues, retry tiers and dead letters"
		f.Do = "accept the old values too, or make a new contract " + next
	default:
		f.Side, f.Affected, f.Upgrade = Receivers, "receivers that are not upgraded yet", ReceiversFirst
		f.Do = "upgrade receivers first"
	}
	if f.Change == "required" && forward && s.part == "payload" {
		f.Do = strings.Replace(f.Do, "accept the old values too", "make the field optional (omitempty)", 1)
	}
	if f.Change == "required" && !forward {
		f.Do += ", or go on writing the field until they are"
	}
}

// gone is a field that the new schema does not have.
func (s shape) gone(path, renamed string) Finding {
	f := Finding{Severity: Safe, Contract: s.contract, Part: s.part, Path: path, Change: "removed", Message: "is gone: what is still written there is ignored"}
	if renamed != "" {
		f.Severity = Careful
		f.Message = fmt.Sprintf("is gone, and %s is new with the same schema: if that is a new name, what is written under the old one is lost", renamed)
		f.Do = "read and write both names until everything is upgraded and nothing older waits"
	}
	return f
}

// describe says what has changed, as the new program differs from the last release.
func describe(g gap, forward bool) string {
	old, now := g.writer, g.reader
	if !forward {
		old, now = now, old
	}
	switch g.keyword {
	case "required":
		return describeRequired(g, forward)
	case "null":
		if forward {
			return "must not be null any more"
		}
		return "may be null now"
	case "type":
		return fmt.Sprintf("is %s, and was %s", typeText(now), typeText(old))
	case "enum":
		return describeEnum(old, now, forward)
	case "uniqueItems":
		if forward {
			return "must not hold the same item twice any more"
		}
		return "may hold the same item twice now"
	case "propertyNames":
		return fmt.Sprintf("has names that must match %s, and had to match %s", nameText(now), nameText(old))
	case "not":
		if forward {
			return "is refused now"
		}
		return "is accepted now, and was refused"
	}
	switch {
	case old == nil:
		return fmt.Sprintf("has the %s %s, and had none", g.keyword, brief(now))
	case now == nil:
		return fmt.Sprintf("has no %s, and had %s", g.keyword, brief(old))
	default:
		return fmt.Sprintf("has the %s %s, and had %s", g.keyword, brief(now), brief(old))
	}
}

func describeRequired(g gap, forward bool) string {
	switch {
	case forward && g.field:
		return "is required, and was optional"
	case forward:
		return "is required, and did not exist"
	case g.field:
		return "is optional, and was required"
	default:
		return "is gone, and was required"
	}
}

func describeEnum(old, now any, forward bool) string {
	was, _ := old.([]any)
	is, _ := now.([]any)
	switch {
	case old == nil:
		return "may only be " + values(is) + " now"
	case now == nil:
		return "may be anything else than " + values(was) + " now"
	case forward:
		return "can no longer be " + values(without(was, is))
	default:
		return "can be " + values(without(is, was)) + " now"
	}
}

func without(all, some []any) []any {
	have := map[string]bool{}
	for _, v := range some {
		have[key(v)] = true
	}
	var rest []any
	for _, v := range all {
		if !have[key(v)] {
			rest = append(rest, v)
		}
	}
	return rest
}

// maxNamed is how many values a message names.
const maxNamed = 10

func values(all []any) string {
	var texts []string
	for i, v := range all {
		if i == maxNamed {
			texts = append(texts, fmt.Sprintf("%d others", len(all)-i))
			break
		}
		texts = append(texts, brief(v))
	}
	return strings.Join(texts, ", ")
}

func typeText(v any) string {
	switch v := v.(type) {
	case nil:
		return "of any type"
	case string:
		if strings.ContainsRune("aeiou", rune((v + " ")[0])) {
			return "an " + v
		}
		return "a " + v
	case []any:
		var all []string
		for _, one := range v {
			all = append(all, typeText(one))
		}
		return strings.Join(all, " or ")
	default:
		return brief(v)
	}
}

func nameText(v any) string {
	keys, ok := v.(map[string]any)
	switch {
	case v == nil:
		return "nothing"
	case ok && len(keys) == 1 && keys["pattern"] != nil:
		return brief(keys["pattern"])
	default:
		return brief(v)
	}
}

// longest is how many characters of a value a message quotes.
const longest = 80

func brief(v any) string {
	text := []rune(key(v))
	if len(text) > longest {
		return string(text[:longest]) + "…"
	}
	return string(text)
}

func orWhole(path string) string {
	if path == "" {
		return "it"
	}
	return path
}
