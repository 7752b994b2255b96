"""Whether RabbitMQ deletes a queue with its last consumer. It tells only by refusing (406) a declaration that has the
queue otherwise than it is, and says in what. So the queue is declared as one that is not deleted, and with an argument
that no queue can have (``NOBODYS``): what there is has another, and what is gone by now is not made. A queue that
expires by that argument goes while it has no consumer; one that does by a policy can't be told from others.

Source: queue.declare in rabbit_channel.erl, which compares with a queue that exists before it looks at arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NOBODYS = {"x-expires": "never"}
"""It has to be a number."""
NO_VALUE = "current is none"
"""How RabbitMQ says that the queue has none."""


def ask(connection: Any, queue: str, then: Callable[[bool | None], None], *, durable: bool = True) -> None:
    """``then(answer)`` about a queue that exists; None if it expires without a consumer, if this user may not ask, or
    if it is gone. On one channel of its own after another, each of which RabbitMQ closes over its refusal."""
    answers: list[bool] = []

    def same(channel: Any) -> None:
        answers.append(False)
        channel.close()

    def closed(_: Any, error: Exception) -> None:
        text = str(getattr(error, "reply_text", ""))
        if answers:
            then(False)
        elif getattr(error, "reply_code", 0) != 406 or "inequivalent" not in text:
            then(None)
        elif durable and "'durable'" in text:
            connection.ioloop.call_later(0, ask_again)  # when the number of this channel is free again
        elif "'auto_delete'" in text:  # it looks at this before it looks at arguments
            then(True)
        else:
            then(False if text.endswith(NO_VALUE) else None)

    def ask_again() -> None:
        if connection.is_open:
            ask(connection, queue, then, durable=False)

    def opened(channel: Any) -> None:
        channel.add_on_close_callback(closed)
        channel.queue_declare(queue, durable=durable, arguments=NOBODYS, callback=lambda _: same(channel))

    connection.channel(on_open_callback=opened)
