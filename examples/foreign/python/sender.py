# A sender of commands and events, with pika: `leveret conformance sender -- python3 sender.py` judges it.
import json, os, sys, uuid
import pika

url = pika.URLParameters(os.environ["AMQP_URL"])
connection = channel = None


def connect():
    global connection, channel
    if connection is None or connection.is_closed or channel.is_closed:
        connection = pika.BlockingConnection(url)
        channel = connection.channel()
        channel.confirm_delivery()  # from here on basic_publish waits, and raises UnroutableError or NackError


def send(exchange, key, payload, mandatory):
    connect()
    message_id = str(uuid.uuid4())
    properties = pika.BasicProperties(delivery_mode=2, message_id=message_id, content_type="application/json")
    channel.basic_publish(exchange, key, json.dumps(payload).encode(), properties, mandatory=mandatory)
    return message_id


for line in sys.stdin:
    order = json.loads(line)
    try:
        if "send" in order:
            sent = send("commands", "conformance.work", order["send"], mandatory=True)
        else:
            sent = send("events", "conformance.happened", order["publish"], mandatory=False)
        answer = {"sent": sent}
    except (pika.exceptions.AMQPError, OSError):
        answer = {"error": {"code": "unavailable"}}
    print(json.dumps(answer), flush=True)
