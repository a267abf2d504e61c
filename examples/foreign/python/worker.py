# worker.py: all that a worker in Python needs; listen.py and work.py use it
import datetime, json, os, re, socket, struct, sys, time
import pika

TIERS = {"1s": 1, "10s": 10, "1m": 60, "10m": 600}  # in seconds; Leveret's own by default
ATTEMPTS = 1 + len(TIERS)
KEPT = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000, "x-overflow": "reject-publish"}
NOT_COPIED = re.compile("CC|BCC|x-(death|delivery-count|acquired-count|stream-offset|(first|last)-death-.*)")
STALE = ("leveret-attempt", "leveret-error-reason", "leveret-not-before")  # of an earlier failure

def run_forever(start):
    """Call start with a channel, and again with another one whenever the connection is lost."""
    while True:
        try:
            with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
                start(connection.channel())
        except (pika.exceptions.AMQPError, OSError) as error:
            print("connecting again:", repr(error), file=sys.stderr)
        time.sleep(1)

def declare(channel, exchange, kind, key, queue):
    """Declare a work queue, its dead letters and the retry tiers, exactly as Leveret does."""
    def bound(exchange, kind, key, queue, arguments):
        channel.exchange_declare(exchange, kind, durable=True)
        channel.queue_declare(queue, durable=True, arguments={**KEPT, **arguments})
        channel.queue_bind(queue, exchange, key)

    safely = {"x-dead-letter-strategy": "at-least-once"}
    bound("dead-letters", "direct", queue, f"{queue}.dlq", {})
    bound("retry.lost", "fanout", "", "retry.lost", {})
    channel.exchange_declare("retry.return", "direct", durable=True, arguments={"alternate-exchange": "retry.lost"})
    for delay, seconds in TIERS.items():
        bound(f"retry.{delay}", "fanout", "", f"retry.{delay}", {
            "x-message-ttl": 1000 * seconds, "x-dead-letter-exchange": "retry.return", **safely})
    bound(exchange, kind, key, queue, {
        "x-delivery-limit": 1000, "x-dead-letter-exchange": "dead-letters", "x-dead-letter-routing-key": queue, **safely})
    channel.queue_bind(queue, "retry.return", queue)

def count(value):
    """Read a header that should be a whole number: it is the sender's, and may be anything."""
    try:
        return min(max(int(value), 1), 1_000_000) if isinstance(value, (int, str, bytes)) else 1
    except ValueError:
        return 1

def now():
    return datetime.datetime.now(datetime.timezone.utc)

def wait(value):
    """Read a header that should be a time: how many seconds are left until then."""
    try:
        if isinstance(value, datetime.datetime):  # an AMQP timestamp, which pika reads as UTC without a time zone
            until = value.replace(tzinfo=datetime.timezone.utc)
        else:
            text = value.decode() if isinstance(value, bytes) else value
            seconds, fraction, zone = re.fullmatch(r"(.+?)(\.\d+)?(Z|[+-]\d\d:\d\d)", text).groups()
            until = datetime.datetime.strptime(seconds + zone, "%Y-%m-%dT%H:%M:%S%z")
            until += datetime.timedelta(seconds=float(fraction or 0))
        left = until - now()
    except (AttributeError, TypeError, ValueError, OverflowError):
        return 0
    return left.total_seconds() if left.days <= 366 else 0

def decode(properties, body):
    """Read a payload. A ValueError says that the message has none."""
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    if "leveret-instance" in (properties.headers or {}) or properties.content_type == "application/problem+json":
        raise ValueError("it is a reply")
    payload = json.loads(body.decode("utf-8-sig"), parse_constant=refuse)
    if payload is None:
        raise ValueError("null is no payload")
    return payload

def work(channel, service, queue, handle):
    """Call handle with each message of a queue. Put aside those for which it raises, and those that are too early."""
    def put_aside(exchange, method, properties, body, ours, drop=()):
        headers = {k: v for k, v in (properties.headers or {}).items() if not NOT_COPIED.fullmatch(str(k)) and k not in drop}
        if len(repr(headers)) > 64 << 10:
            headers = {"leveret-headers-dropped": "larger than 64 KiB"}
        if method.routing_key != queue:
            headers.setdefault("leveret-routing-key", method.routing_key)
        properties.headers, properties.delivery_mode = {**headers, **ours}, 2
        properties.expiration = properties.user_id = None
        try:
            channel.basic_publish(exchange, queue, body, properties, mandatory=True)  # raises an AMQPError unless it is confirmed
        except struct.error:  # pika cannot write all that it reads
            channel.basic_reject(method.delivery_tag, requeue=False)
        else:
            channel.basic_ack(method.delivery_tag)

    def failed(error, method, properties, body):
        wrong = isinstance(error, (ValueError, LookupError, TypeError, RecursionError))  # the message is, and will be next time
        headers, at = properties.headers or {}, now().isoformat()
        attempt = count(headers.get("leveret-attempt"))
        ours = {"leveret-first-failed-at": headers.get("leveret-first-failed-at", at), "leveret-failed-at": at,
                "leveret-error-code": "invalid_argument" if wrong else "unknown", "leveret-error-message": repr(error)[:500]}
        if wrong or attempt >= ATTEMPTS:
            ours |= {"leveret-failed-queue": queue, "leveret-attempts": attempt, "leveret-service": service,
                     "leveret-host": f"{socket.gethostname()}/{os.getpid()}"}
            put_aside("dead-letters", method, properties, body, ours, STALE)
        else:
            ours["leveret-attempt"] = attempt + 1
            put_aside(f"retry.{list(TIERS)[attempt - 1]}", method, properties, body, ours, STALE)

    def on_message(channel, method, properties, body):
        early = wait((properties.headers or {}).get("leveret-not-before"))
        if early > 0:
            tier = next((delay for delay, seconds in TIERS.items() if seconds >= early), list(TIERS)[-1])
            return put_aside(f"retry.{tier}", method, properties, body, {})
        try:
            handle(decode(properties, body), properties)
        except Exception as error:
            failed(error, method, properties, body)
        else:
            channel.basic_ack(method.delivery_tag)

    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=10)
    channel.basic_consume(queue, on_message)
    channel.start_consuming()
