package conformance

// Protocol says what the kit expects of a client, for people who write one.
const Protocol = `The client connects to AMQP_URL (amqp://user:password@host:port, whose virtual host is the default one), and does this:

  worker    consumes the queue conformance.work, which exists, with commands
  answerer  consumes the queue conformance.ask, which exists, with requests
  listener  declares the queue conformance-listener.on.conformance.happened and what belongs to it, binds it, and consumes it
            then, with events. The exchanges exist

Each payload is {"id": …, "do": …}, and do is one of:

  succeed           do the work: write the line {"did": ID} to standard output, with the id, and ack then
  wait              do the work after as many milliseconds as "ms" says
  fail              it fails for good: the message is never tried again
  fail_temporarily  fail for now: it is tried again later, five times altogether

The reply of an answerer is the payload. It writes a line for the work as well, and answers where it fails: for good with the
code failed_precondition, for now with unavailable.

  sender  reads lines from standard input, and writes one to standard output for each:
          {"send": PAYLOAD}     publishes the command conformance.work
          {"publish": PAYLOAD}  publishes the event conformance.happened
          and answers {"sent": MESSAGE_ID}, or {"error": {"code": …}} where it cannot be sure that the broker has it

  caller  reads lines from standard input, and writes one to standard output for each:
          {"call": PAYLOAD, "timeout_ms": N}  makes the request conformance.ask, and waits for as many milliseconds
          and answers {"id": ID, "reply": PAYLOAD} or {"id": ID, "error": {"code": …, "reason": …}}, with the payload's id.
          It reads the next line while a call waits, so that several wait at once

Lines on standard output that are no JSON object are ignored; the end of what is on standard error is shown if the client ends
by itself.`
