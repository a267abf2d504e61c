# A caller, with pika: `leveret conformance caller -- python3 caller.py` judges it. One thread has the connection; lines are read
# by another, so that several calls wait at once.
import json, os, queue, sys, threading, time, uuid
import pika

url = pika.URLParameters(os.environ["AMQP_URL"])
PROBLEM = "application/problem+json"
CODES = {"canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists", "permission_denied",
         "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented", "internal", "unavailable",
         "data_loss", "unauthenticated"}
lines = queue.Queue()
connection = channel = None
waiting = {}  # the ids and the ends of calls that wait, by correlation id


def connect():
    global connection, channel
    if connection is None or connection.is_closed or channel.is_closed:
        connection = pika.BlockingConnection(url)
        channel = connection.channel()
        channel.basic_consume("amq.rabbitmq.reply-to", on_answer, auto_ack=True)  # first, and on the same channel
        channel.add_on_return_callback(lambda _channel, _method, properties, _body: fail(properties.correlation_id, "unavailable"))


def call(order):
    payload, seconds = order["call"], order["timeout_ms"] / 1000
    correlation_id = str(uuid.uuid4())
    waiting[correlation_id] = (payload["id"], time.monotonic() + seconds)
    try:
        connect()
        channel.basic_publish(
            "requests", "conformance.ask", json.dumps(payload).encode(),
            pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=correlation_id, delivery_mode=1,
                                 expiration=str(max(1, int(seconds * 750))), content_type="application/json"),
            mandatory=True)
    except (pika.exceptions.AMQPError, OSError):
        fail(correlation_id, "unavailable")


def end(correlation_id, answer):
    if correlation_id in waiting:  # if not, it was given up
        payload_id, _ = waiting.pop(correlation_id)
        print(json.dumps({"id": payload_id, **answer}), flush=True)


def fail(correlation_id, code, reason=""):
    end(correlation_id, {"error": {"code": code, "reason": reason}})


def on_answer(_channel, _method, properties, body):
    try:
        answer = json.loads(body.decode("utf-8-sig"))
    except ValueError:
        answer = None
    if properties.content_type == PROBLEM:
        problem = answer if isinstance(answer, dict) else {}
        code, reason = problem.get("code"), problem.get("reason")
        known = isinstance(code, str) and code in CODES
        fail(properties.correlation_id, code if known else "unknown", reason if isinstance(reason, str) else "")
    elif answer is None:
        fail(properties.correlation_id, "data_loss")
    else:
        end(properties.correlation_id, {"reply": answer})


def read():
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(0)


threading.Thread(target=read, daemon=True).start()
while True:
    try:
        while not lines.empty():
            call(lines.get())
        if connection is not None and connection.is_open:
            connection.process_data_events(time_limit=0.01)
        else:
            time.sleep(0.01)
    except (pika.exceptions.AMQPError, OSError):
        for correlation_id in list(waiting):  # their answers are lost; the requests may have been handled
            fail(correlation_id, "unavailable", "outcome_unknown")
    for correlation_id, (_, until) in list(waiting.items()):
        if time.monotonic() > until:
            fail(correlation_id, "deadline_exceeded", "outcome_unknown")
