"""What went wrong at RabbitMQ, in words for a person."""

from __future__ import annotations

import pika.exceptions


def reason_of(error: object) -> str:
    """What went wrong, from the innermost of pika's exceptions."""
    while isinstance(error, pika.exceptions.AMQPError | Exception):
        inner = getattr(error, "exceptions", None) or getattr(error, "exception", None)
        inner = inner[-1] if isinstance(inner, list | tuple) and inner else inner
        if not isinstance(inner, Exception):
            break
        error = inner
    if isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return "it refuses this user or password"
    if isinstance(error, pika.exceptions.ProbableAccessDeniedError):
        return "this user may not use this vhost, or there is none of that name"
    if isinstance(error, pika.exceptions.ConnectionClosed | pika.exceptions.ChannelClosed):
        return f"{error.reply_text} ({error.reply_code})"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
