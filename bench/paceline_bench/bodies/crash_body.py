"""The bodies of ``crashes.py``: a nap, and one that ends its process the first time that it runs, or each time. The
same functions for each system, registered with the one that the environment names, and only with that.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

KIND_VARIABLE = "PACELINE_CRASH_BODY"
URL_VARIABLE = "PACELINE_CRASH_URL"
ATTEMPTS = 5
EXIT_CODE = 139
"""As of a process that a shell saw ended by SIGSEGV."""


def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


def crash_once(number: int, seconds: float, directory: str) -> int:
    """The file of this number says that it has."""
    marker = Path(directory) / str(number)
    if not marker.exists():
        marker.touch()
        os._exit(EXIT_CODE)
    return nap(number, seconds)


def crash_always(number: int, seconds: float, directory: str) -> int:
    os._exit(EXIT_CODE)


BODIES = {each.__name__: each for each in (nap, crash_once, crash_always)}

app: Any = None
_kind = os.environ.get(KIND_VARIABLE)
if _kind == "celery":
    from celery import Celery

    app = Celery("crashes", broker=os.environ[URL_VARIABLE], backend="rpc://")
    # https://docs.celeryq.dev/en/stable/userguide/tasks.html: a message is acknowledged once its task has ended, and
    # goes back to the queue if its worker was lost, so that it runs again as ours does. 1: of tasks that may crash,
    # none is to wait behind another in one process.
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
    )
    # As many attempts as ours, since a message that always goes back to its queue does so for ever.
    always = {"retry_on_worker_lost": True, "max_retries": ATTEMPTS - 1, "default_retry_delay": 0}
    for name, body in BODIES.items():
        app.task(name=name, **(always if name == "crash_always" else {}))(body)
elif _kind == "paceline":
    from paceline import task

    for name, body in BODIES.items():
        task(name=name)(body)
