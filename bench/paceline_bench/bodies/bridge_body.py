"""The body of ``bridge.py``: notes when it starts. The same function for each system, registered with the one that
the environment names, and only with that.
"""

from __future__ import annotations

import os
import struct
import time

KIND_VARIABLE = "PACELINE_BRIDGE_BODY"
PATH_VARIABLE = "PACELINE_BRIDGE_STARTS"
URL_VARIABLE = "PACELINE_BRIDGE_URL"
RECORD = struct.Struct("<qqq")
"""number, sent, started: the last two by the machine's monotonic clock, in nanoseconds."""
NAME = "stamp"
QUEUES = {"celery": "stamps-celery", "dramatiq": "stamps-dramatiq"}

_descriptor = -1


def stamp(number: int, sent_ns: int) -> None:
    global _descriptor
    started_ns = time.monotonic_ns()
    if _descriptor < 0:
        _descriptor = os.open(os.environ[PATH_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(_descriptor, RECORD.pack(number, sent_ns, started_ns))


_kind = os.environ.get(KIND_VARIABLE)
if _kind == "celery":
    from celery import Celery

    app = Celery("stamps", broker=os.environ[URL_VARIABLE])
    app.conf.task_default_queue = QUEUES["celery"]
    # As bench/paceline_bench/peers/celery.py has it, and why.
    app.conf.update(worker_prefetch_multiplier=64, broker_connection_retry_on_startup=True)
    app.task(name=NAME, ignore_result=True)(stamp)
elif _kind == "dramatiq":
    import dramatiq
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    dramatiq.set_broker(RabbitmqBroker(url=os.environ[URL_VARIABLE]))
    dramatiq.actor(actor_name=NAME, queue_name=QUEUES["dramatiq"])(stamp)
elif _kind == "paceline":
    from paceline import task

    task(name=NAME)(stamp)
