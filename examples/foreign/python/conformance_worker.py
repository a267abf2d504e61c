# A worker for a command, on the worker.py of docs/wire.md: `leveret conformance worker -- python3 conformance_worker.py` judges it.
import json, time
import worker

done = set()  # the ids of messages that were worked on; a real worker keeps them with the effects


def work(payload, properties):
    if payload["do"] == "fail":
        raise ValueError("it cannot be done")
    if payload["do"] == "fail_temporarily":
        raise RuntimeError("not now")
    if payload["do"] == "wait":
        time.sleep(payload["ms"] / 1000)
    if properties.message_id is None or properties.message_id not in done:
        done.add(properties.message_id)
        print(json.dumps({"did": payload["id"]}), flush=True)


if __name__ == "__main__":
    worker.run_forever(lambda channel: worker.work(channel, "conformance", "conformance.work", work))
