# A worker for a command, with pika: `leveret conformance worker -- python3 worker.py` judges it.
import datetime, functools, json, os, sys, time
import pika

ATTEMPTS = 5
DROPPED = ("CC", "BCC", "leveret-attempt")
url = pika.URLParameters(os.environ["AMQP_URL"])
done = set()  # the ids of messages that were worked on; a real worker keeps them with the effects


class ForNow(Exception):
    code = "unavailable"


class ForGood(Exception):
    code = "invalid_argument"


def work(payload, message_id):
    if payload["do"] == "fail":
        raise ForGood("it cannot be done")
    if payload["do"] == "fail_temporarily":
        raise ForNow("not now")
    if payload["do"] == "wait":
        time.sleep(payload["ms"] / 1000)
    if message_id is None or message_id not in done:
        done.add(message_id)
        print(json.dumps({"did": payload["id"]}), flush=True)


def decode(properties, headers, body):
    if "leveret-instance" in headers or properties.content_type == "application/problem+json":
        raise ForGood("a reply is no command")
    try:
        payload = json.loads(body.decode("utf-8-sig"))
    except ValueError as error:
        raise ForGood(f"not JSON: {error}") from error
    if not isinstance(payload, dict) or not isinstance(payload.get("do"), str):
        raise ForGood("not the payload of this command")
    return payload


def attempt_of(headers):
    try:
        value = headers.get("leveret-attempt")
        return min(max(int(value), 1), 1000000) if isinstance(value, (int, str)) and not isinstance(value, bool) else 1
    except ValueError:
        return 1


def is_early(headers):
    until = headers.get("leveret-not-before")
    now = datetime.datetime.now(datetime.timezone.utc)
    try:
        if isinstance(until, datetime.datetime):
            until = until.replace(tzinfo=datetime.timezone.utc)
        elif isinstance(until, str):  # Python reads six decimals, there may be nine
            seconds = until.rstrip("Z").split(".")[0]
            until = datetime.datetime.fromisoformat(seconds).replace(tzinfo=datetime.timezone.utc)
        else:
            return False
        return now < until < now + datetime.timedelta(days=366)
    except (ValueError, OverflowError):
        return False


def put_aside(channel, exchange, queue, properties, headers, body, more):
    kept = {name: value for name, value in headers.items() if name not in DROPPED and not name.startswith("x-")}
    properties.headers = {**kept, **more}
    properties.delivery_mode, properties.expiration, properties.user_id = 2, None, None
    channel.basic_publish(exchange, queue, body, properties, mandatory=True)  # returns when it is confirmed


def on_command(queue, channel, method, properties, body):
    headers = properties.headers or {}
    attempt = attempt_of(headers)
    if is_early(headers):
        put_aside(channel, "retry.1m", queue, properties, headers, body, {"leveret-attempt": attempt})
        return channel.basic_ack(method.delivery_tag)
    try:
        work(decode(properties, headers, body), properties.message_id)
    except (ForNow, ForGood) as error:
        why = {"leveret-error-code": error.code, "leveret-error-message": str(error),
               "leveret-failed-at": datetime.datetime.now(datetime.timezone.utc).isoformat()}
        if isinstance(error, ForNow) and attempt < ATTEMPTS:
            put_aside(channel, "retry.1s", queue, properties, headers, body, {**why, "leveret-attempt": attempt + 1})
        else:
            put_aside(channel, "dead-letters", queue, properties, headers, body, {
                **why, "leveret-failed-queue": queue, "leveret-attempts": attempt,
                "leveret-service": "conformance", "leveret-host": f"{os.uname().nodename}/{os.getpid()}"})
    channel.basic_ack(method.delivery_tag)


def run(queue, declare=None):
    while True:
        connection = None
        try:
            connection = pika.BlockingConnection(url)
            channel = connection.channel()
            channel.confirm_delivery()  # a copy that is returned or refused raises an exception, and the message is not acked
            if declare is not None:
                declare(channel)
            channel.basic_qos(prefetch_count=10)
            channel.basic_consume(queue, functools.partial(on_command, queue))
            channel.start_consuming()
        except (pika.exceptions.AMQPError, OSError) as error:
            print("starting again:", repr(error), file=sys.stderr)
            if connection is not None and connection.is_open:
                connection.close()  # what it has goes back to its queue
            time.sleep(1)


if __name__ == "__main__":
    run("conformance.work")
