# A listener to an event, with pika: `leveret conformance listener -- python3 listener.py` judges it. It is a worker with a queue
# of its own, which it declares.
import worker

QUEUE = "conformance-listener.on.conformance.happened"
QUORUM = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}


def declare(channel):
    channel.exchange_declare("events", "topic", durable=True)
    channel.exchange_declare("dead-letters", "direct", durable=True)
    channel.exchange_declare("retry.return", "direct", durable=True, arguments={"alternate-exchange": "retry.lost"})
    channel.queue_declare(QUEUE, durable=True, arguments={
        **QUORUM, "x-delivery-limit": 1000, "x-dead-letter-exchange": "dead-letters", "x-dead-letter-routing-key": QUEUE,
        "x-dead-letter-strategy": "at-least-once"})
    channel.queue_declare(QUEUE + ".dlq", durable=True, arguments={**QUORUM, "x-delivery-limit": 1000000})
    channel.queue_bind(QUEUE + ".dlq", "dead-letters", routing_key=QUEUE)
    channel.queue_bind(QUEUE, "events", routing_key="conformance.happened")
    channel.queue_bind(QUEUE, "retry.return", routing_key=QUEUE)  # what is put into a retry tier comes back here


worker.run(QUEUE, declare)
