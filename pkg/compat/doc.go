// Package compat writes down the contracts of a catalog, and finds what breaks between two such records: that of the
// last release, and that of the program as it is now.
//
// A [Lock] is the record. [Of] makes it of a catalog, [Lock.Encode] writes it, [Read] reads it, and [Check] compares
// two.
//
// During an upgrade old and new processes run side by side, and messages of the last release wait in queues, retry
// tiers and dead letters. So every payload is looked at in both directions: what the last release writes, the new
// program has to read; what the new program writes, the last release has to read. A change that is safe in one
// direction often breaks the other. What is written is what a Go value encodes to: fields that the schema does not have
// are never written, and always ignored when read.
//
// Every finding about a payload comes with a counterexample wherever one is found: a payload that one schema accepts
// and the other refuses, which the validator itself has confirmed.
//
// Not checked is what the record does not hold: Validate methods, the order and the meaning of what is sent, headers,
// and the settings of a deployment (namespace, layout, the type of the request queues).
package compat
