package conformance

func callerRules() []Rule {
	return []Rule{
		{
			ID: "C1", Link: "where-it-travels", check: requestsRight,
			Text: "It must publish a request to `requests`, with the contract's name as the routing key.",
		},
		{
			ID: "C2", Link: "where-it-travels", check: declaresExactly,
			Text: "It must declare nothing but a reply queue of its own, or exactly what this page says: anything else is refused with 406.",
		},
		{
			ID: "C3", Link: "the-body", needs: []string{"C1"}, check: requestsPayload,
			Text: "It must send the payload alone, as JSON in UTF-8, without a byte order mark.",
		},
		{
			ID: "C4", Link: "making-a-request", needs: []string{"C1"}, check: requestsMandatory,
			Text: "It must publish a request mandatory: where nobody serves it, the caller would wait for nothing.",
		},
		{
			ID: "C5", Link: "which-addresses-are-answered", needs: []string{"C1"}, check: ownAddress,
			Text: "It must set `reply_to` to `amq.rabbitmq.reply-to`, or to an exclusive queue of its own whose name is an address that is " +
				"answered: a queue that stays behind fills up.",
		},
		{
			ID: "C6", Link: "properties", needs: []string{"C1"}, check: unguessable,
			Text: "It must give each request a `correlation_id` of its own that nobody can guess, such as a UUID, of up to 255 bytes: it " +
				"is what tells replies apart, and what calls a request off.",
		},
		{
			ID: "C7", Link: "making-a-request", needs: []string{"C1"}, check: setsExpiration,
			Text: "It must set `expiration`, in milliseconds, to less than it waits: a request that nobody waits for any more would be handled.",
		},
		{
			ID: "C8", Link: "headers", needs: []string{"C1"}, check: requestsOwnHeaders,
			Text: "It must not make a request look like a reply (`leveret-instance`, `application/problem+json`), and not set what RabbitMQ " +
				"writes or obeys: " + brokersHeaders + ".",
		},
		{
			ID: "C9", Link: "making-a-request", needs: []string{"C1", "C5"}, check: takesReplies,
			Text: "It must take an answer for the reply whatever its `content_type` is, if it has one, but `application/problem+json`; and " +
				"accept fields that it does not know.",
		},
		{
			ID: "C10", Link: "errors", needs: []string{"C1", "C5"}, check: takesErrors,
			Text: "It must take an answer whose `content_type` is `application/problem+json` for an error, with its `code` and its `reason`.",
		},
		{
			ID: "C11", Link: "errors", needs: []string{"C10"}, check: takesUnknown,
			Text: "It must take a `code` that is missing, or none of the table, for `unknown`, also where the error cannot be read.",
		},
		{
			ID: "C12", Link: "the-body", needs: []string{"C9"}, check: survivesBadReplies,
			Text: "It must report an error if it cannot read the reply, and survive it: empty, not JSON, or not UTF-8.",
		},
		{
			ID: "C13", Link: "making-a-request", needs: []string{"C4"}, check: hearsReturns,
			Text: "It must report `unavailable` at once if the request is returned: nobody serves it.",
		},
		{
			ID: "C14", Link: "making-a-request", needs: []string{"C9"}, check: givesUpInTime,
			Text: "It must report `deadline_exceeded` when the time is up, and not before: an answer that comes in time counts.",
		},
		{
			ID: "C15", Link: "making-a-request", needs: []string{"C6", "C9", "C14"}, check: ignoresOthers,
			Text: "It must ignore an answer whose `correlation_id` is missing, or none of a call that waits: it may belong to a call that was " +
				"given up.",
		},
		{
			ID: "C16", Link: "making-a-request", needs: []string{"C6", "C9"}, check: tellsApart,
			Text: "It must give each of several calls at once its own answer, in whichever order they come.",
		},
		{
			ID: "C17", Link: "the-body", needs: []string{"C9"}, check: keepsDigits, Should: true,
			Text: "It should keep all digits of integers beyond 2^53 in a reply.",
		},
		{
			ID: "C18", Link: "making-a-request", needs: []string{"C9"}, check: callsAgain,
			Text: "It must make calls again after a lost connection, without being started anew.",
		},
		{
			ID: "C19", Link: "errors", needs: []string{"C18"}, check: losesReply,
			Text: "It must report an error if the connection is lost before the answer, when its time is up at the latest, and must not " +
				"make the call again by itself: the request may have been handled, and its contract need not be idempotent.",
		},
	}
}
