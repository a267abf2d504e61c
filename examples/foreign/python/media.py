# media.py: a task of Celery
import os

import celery

app = celery.Celery("media", broker=os.environ["AMQP_URL"])
app.conf.task_ignore_result = True
app.conf.worker_enable_remote_control = False


@app.task(name="media.thumbnail")
def thumbnail(file, width):
    print(f"made {file} {width}", flush=True)
