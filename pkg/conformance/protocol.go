package conformance

// Protocol says what the kit expects of a client in a role, for people who write one; it is empty if there is no such role.
func Protocol(role Role) string {
	if does := protocols[role]; does != "" {
		return "The client connects to AMQP_URL, which is amqp://user:password@host:port and means the default virtual host.\nIt " + does + `

Lines on standard output that are no JSON object are ignored. If the client ends by itself, the end of what it has written to
standard error is shown.`
	}
	return ""
}

var protocols = map[Role]string{
	Worker: `consumes the queue conformance.work, which exists, and takes commands from it.

` + payloads,
	Answerer: `consumes the queue conformance.ask, which exists, and answers the requests in it.

` + payloads + `

The reply is the payload. What fails is answered with an error: for good with the code failed_precondition, for now with
unavailable.`,
	Listener: `declares the queue conformance-listener.on.conformance.happened and all that belongs to it, binds it to events, which
exists, as the other exchanges do, and consumes it then.

` + payloads,
	Sender: `reads lines from standard input, and writes one line to standard output for each:

  {"send": PAYLOAD}     publishes the command conformance.work
  {"publish": PAYLOAD}  publishes the event conformance.happened

The answer is {"sent": MESSAGE_ID}, or {"error": {"code": …}} if it is not sure that the broker has the message.`,
	Caller: `reads lines from standard input, and writes one line to standard output for each:

  {"call": PAYLOAD, "timeout_ms": N}  makes the request conformance.ask, and waits N milliseconds for the reply

The answer is {"id": ID, "reply": PAYLOAD} or {"id": ID, "error": {"code": …, "reason": …}}, with the id of the payload. The
client reads the next line while a call waits, so that several can wait at once.`,
}

// payloads is what a client does with what it takes from a queue.
const payloads = `Each payload is {"id": …, "do": …}, and "do" is one of these:

  succeed           do the work: write the line {"did": ID} to standard output, with the id, and ack after that
  wait              do the work after as many milliseconds as "ms" says
  fail              it fails for good: the message is never tried again
  fail_temporarily  it fails for now: it is tried again later, five times altogether`
