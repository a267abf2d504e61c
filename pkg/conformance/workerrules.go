package conformance

// attempts is how often a contract's messages are handled, by default.
const attempts = 5

func workerRules() []Rule {
	return []Rule{
		{
			ID: "W1", Link: "where-it-travels", early: true, check: declaresExactly,
			Text: "It must declare nothing, or exactly what this page says: anything else is refused with 406.",
		},
		{
			ID: "W2", Link: "being-a-worker", needs: []string{"W1"}, early: true, check: manualAcks,
			Text: "It must consume the queue of its command with manual acks: what is acked on delivery is lost with the worker.",
		},
		{
			ID: "W3", Link: "being-a-worker", needs: []string{"W2"}, check: boundPrefetch,
			Text: "It must set a prefetch count before it consumes: without one it is sent the whole queue.",
		},
		{
			ID: "W4", Link: "being-a-worker", needs: []string{"W2"}, check: acksAfterWork,
			Text: "It must ack a message when the work is done, and not before.",
		},
		{
			ID: "W5", Link: "the-body", needs: []string{"W4"}, check: unknownFields,
			Text: "It must accept fields that it does not know: a sender may be newer.",
		},
		{
			ID: "W6", Link: "the-body", needs: []string{"W4"}, check: byteOrderMark,
			Text: "It must skip a byte order mark in front of the body.",
		},
		{
			ID: "W7", Link: "properties", needs: []string{"W4"}, check: noProperties,
			Text: "It must handle a message without any property and header.",
		},
		{
			ID: "W8", Link: "properties", needs: []string{"W4"}, check: otherProperties,
			Text: "It must not look at `type`, `content_type` and `content_encoding`: the queue says what a message is. " +
				"Only `application/problem+json` matters, see W11.",
		},
		{
			ID: "W9", Link: "headers", needs: []string{"W4"}, check: oddHeaders,
			Text: "It must ignore a header that is not what it should be, and survive it.",
		},
		{
			ID: "W10", deadLetters: true, Link: "the-body", needs: []string{"W4"}, check: badBodies,
			Text: "It must make a message whose body it cannot read a dead letter at once: " +
				"empty, `null`, not JSON, not UTF-8, of another type, or followed by something else.",
		},
		{
			ID: "W11", deadLetters: true, Link: "what-is-a-reply", needs: []string{"W4"}, check: deadLettersReplies,
			Text: "It must make a reply a dead letter at once: what has the header `leveret-instance`, or the `content_type` " +
				"`application/problem+json`.",
		},
		{
			ID: "W12", Link: "being-a-worker", needs: []string{"W4"}, check: retries,
			Text: "It must publish a copy of what failed for now to a retry tier, with the name of its queue as the routing key, and " +
				"ack the message then; giving it back to its queue is a hot loop.",
		},
		{
			ID: "W13", Link: "headers", needs: []string{"W12"}, check: countsAttempts,
			Text: "It must set `leveret-attempt` in that copy to one more than the message has; a message without it has 1.",
		},
		{
			ID: "W14", Link: "headers", needs: []string{"W13"}, check: readsNumbers,
			Text: "It must read `leveret-attempt` as an integer of any width, and as digits in a string.",
		},
		{
			ID: "W15", Link: "being-a-worker", needs: []string{"W12"}, check: confirmedCopies,
			Text: "It must ack a message only after the broker has confirmed its copy: until then, the copy may not exist.",
		},
		{
			ID: "W16", Link: "being-a-worker", needs: []string{"W15"}, check: mandatoryCopies,
			Text: "It must publish copies mandatory, and must not ack a message whose copy has come back: its tier is not there.",
		},
		{
			ID: "W17", Link: "being-a-worker", needs: []string{"W7", "W12"}, check: persistentCopies,
			Text: "It must publish copies persistent (`delivery_mode` 2), whatever the message was.",
		},
		{
			ID: "W18", Link: "the-body", needs: []string{"W5", "W6", "W12"}, check: keepsBody,
			Text: "It must keep the body in copies, byte for byte.",
		},
		{
			ID: "W19", Link: "properties", needs: []string{"W8", "W12"}, check: keepsProperties,
			Text: "It must keep `message_id`, `correlation_id`, `type`, `content_type`, `content_encoding`, `timestamp`, `app_id` and " +
				"`priority` in copies.",
		},
		{
			ID: "W20", Link: "headers", needs: []string{"W12"}, check: keepsHeaders,
			Text: "It must keep the sender's headers in copies, and those that name the trace and the conversation.",
		},
		{
			ID: "W21", Link: "headers", needs: []string{"W12"}, check: dropsHeaders,
			Text: "It must drop " + brokersHeaders + " in copies, and `user_id` and `expiration`: a copy with `CC` arrives several times, " +
				"one with `expiration` is lost.",
		},
		{
			ID: "W22", deadLetters: true, Link: "errors", needs: []string{"W13"}, check: givesUp,
			Text: "It must make a message a dead letter when its attempts are used up, which are five by default.",
		},
		{
			ID: "W23", deadLetters: true, Link: "errors", needs: []string{"W4"}, check: deadLettersAtOnce,
			Text: "It must make a message that failed for good a dead letter at once.",
		},
		{
			ID: "W24", Link: "being-a-worker", needs: []string{"W23"}, check: sureDeadLetters,
			Text: "It must reject a message without requeue to make it a dead letter, or publish a copy to `dead-letters`, with the name " +
				"of its queue as the routing key, mandatory, persistent, and confirmed before it acks.",
		},
		{
			ID: "W25", Link: "headers", needs: []string{"W23"}, check: explainsDeadLetters,
			Text: "It must say in such a copy what has happened: `leveret-failed-queue`, `leveret-failed-at`, `leveret-attempts`, " +
				"`leveret-error-code`, `leveret-error-message`, `leveret-service` and `leveret-host`.",
		},
		{
			ID: "W26", Link: "headers", needs: []string{"W12"}, check: waitsUntil,
			Text: "It must not handle a message whose `leveret-not-before` is still to come: a copy goes to a retry tier, " +
				"with its headers as they are.",
		},
		{
			ID: "W27", Link: "properties", needs: []string{"W4"}, check: duplicates, Should: true,
			Text: "It should do the work once if a message comes twice under one `message_id`.",
		},
		{
			ID: "W28", Link: "being-a-worker", needs: []string{"W4"}, check: reconnects,
			Text: "It must go on after a lost connection: connect again, and ack on the channel that delivered. What it had is delivered again.",
		},
	}
}
