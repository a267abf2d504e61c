package compat

import (
	"fmt"

	"github.com/leveretmq/leveret/pkg/topology"
)

// kept compares how an event is kept. A stream that exists stays as it is.
func (c *checking) kept(old, now Contract) {
	stream := topology.Names{}.KeptStream(now.Name)
	add := func(s Severity, change, message, affected, do string) {
		c.add(Finding{Severity: s, Contract: now.Name, Part: "kept", Change: change, Message: message, Affected: affected, Do: do})
	}
	const exists = "the stream that exists: RabbitMQ answers 406, since arguments cannot be changed; services log that and use it as it is"
	const policy = "change it with a policy: see docs/operations.md"
	switch was, is := old.Kept, now.Kept; {
	case was == nil && is == nil:
	case was == nil:
		add(Safe, "added", fmt.Sprintf("is kept now, for %s and up to %d bytes", is.Age, is.Bytes), "",
			"events that are published before its publisher is upgraded are not in the stream "+stream)
	case is == nil:
		add(Careful, "removed", "is no longer kept", "the stream "+stream+", which stays bound, and readers that are not upgraded yet",
			"delete "+stream+" when nobody reads it any more")
	default:
		if was.Age != is.Age {
			add(Careful, "age", fmt.Sprintf("is kept for %s, and was for %s", is.Age, was.Age), exists, policy)
		}
		if was.Bytes != is.Bytes {
			add(Careful, "bytes", fmt.Sprintf("is kept up to %d bytes, and was up to %d", is.Bytes, was.Bytes), exists, policy)
		}
	}
}
