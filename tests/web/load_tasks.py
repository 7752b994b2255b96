"""Tasks that make every kind of figure move."""

from __future__ import annotations

import os
import time

from paceline import task


@task
def nap(seconds: float) -> None:
    time.sleep(seconds)


@task
def fail() -> None:
    raise ValueError("on purpose")


@task
def crash() -> None:
    os._exit(9)
