// Package conformance finds out whether a client in any language keeps the rules of docs/wire.md.
//
// [Run] drives a client, which is a program, against a broker of the kit's own, and returns a verdict for each rule of the
// client's role: kept, broken, or not tested. The client is a small program around the code that is to be judged. It
// connects to AMQP_URL, and does what the kit's own contracts say:
//
//   - a [Worker] consumes the queue conformance.work, an [Answerer] the queue conformance.ask, and a [Listener] a queue of its
//     own for the event conformance.happened. The payload says what to do with it, and the client writes one line for each
//     effect to its standard output;
//   - a [Sender] and a [Caller] read what to do from standard input, one JSON value a line, and write one line of JSON to
//     standard output for each.
//
// [Protocol] says it in full. Between the client and the broker stands a proxy that reads every frame. So a verdict rests on
// what the client has sent, and in which order, and on nothing that it says of itself; and the proxy can make true what is
// rare: a refused publish, a late confirm, a lost connection.
package conformance
