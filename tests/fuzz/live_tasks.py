"""What the client that behaves has a real worker run while everybody speaks; and names that others may use."""

from __future__ import annotations

from paceline import task


@task
def double(number: int) -> int:
    return 2 * number


@task(name="reverse")
def reverse(*anything: object) -> int:
    return len(anything)
