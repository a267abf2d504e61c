# A listener to an event, on the worker.py of docs/wire.md: `leveret conformance listener -- python3 conformance_listener.py` judges it.
import worker
from conformance_worker import work

QUEUE = "conformance-listener.on.conformance.happened"


def start(channel):
    worker.declare(channel, "events", "topic", "conformance.happened", QUEUE)
    worker.work(channel, "conformance-listener", QUEUE, work)


worker.run_forever(start)
