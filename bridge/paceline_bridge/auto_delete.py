"""Whether a queue is deleted with its last consumer. RabbitMQ tells nobody, but it refuses who declares a queue
otherwise than it is, and says in what. So the queue is declared as one that is not deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def ask(connection: Any, queue: str, then: Callable[[bool | None], None], *, durable: bool = True) -> None:
    """``then(answer)`` about a queue that exists; None if this user may not ask. On a channel of its own, which
    RabbitMQ closes over a refusal."""
    answers: list[bool] = []

    def same(channel: Any) -> None:
        answers.append(False)
        channel.close()

    def closed(_: Any, error: Exception) -> None:
        text = str(getattr(error, "reply_text", ""))
        if answers:
            then(False)
        elif getattr(error, "reply_code", 0) != 406:
            then(None)
        elif durable and "'durable'" in text:
            if connection.is_open:
                ask(connection, queue, then, durable=False)
        else:
            then("'auto_delete'" in text)  # it looks at this before it looks at arguments

    def opened(channel: Any) -> None:
        channel.add_on_close_callback(closed)
        channel.queue_declare(queue, durable=durable, callback=lambda _: same(channel))

    connection.channel(on_open_callback=opened)
