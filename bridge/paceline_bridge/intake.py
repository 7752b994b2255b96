"""How much of one queue the bridge holds, in messages and in bytes. Pure.

RabbitMQ's prefetch counts messages, and what one weighs is known once it is here. So the first consumer of a queue asks
for few (``FIRST``), and each next one for as many as fit into the queue's share of the bytes if they are as heavy as
the heaviest of late, up to the prefetch that is set. RabbitMQ applies a prefetch to new consumers only: to change it is
to begin another consumer and cancel the one before. While the messages that are held take more than the share there is
none, unless the queue would be deleted with it: then there is one that asks for a single message.

What a consumer that is cancelled had asked for may still come. So if the messages of a queue suddenly become heavier,
the share is exceeded by as many of them as were asked for, once.
"""

from __future__ import annotations

FIRST = 4
"""Messages that are asked for before anything is known of their weight. RabbitMQ 4 takes messages of up to 16 MiB."""
GROWTH = 8
"""How many times as many the next consumer asks for at most."""
LIGHTER = 0.99
"""The heaviest of late counts for so much less with each message."""
OVERHEAD_BYTES = 1_000
HEADERS_FACTOR = 28
"""What headers take at most once they are decoded, for each byte of them: as tables of one entry without a value
do, within an array."""
RESUME = 0.5
"""Part of the share at which consuming goes on."""


def weight_of(body_bytes: int, header_bytes: int) -> int:
    """What a message takes when it comes, in bytes. Its arguments are added once they are known (``heavier``)."""
    return OVERHEAD_BYTES + body_bytes + HEADERS_FACTOR * header_bytes


class Share:
    """What one queue may have of the bytes that a link holds: those that are consumed have equal parts, so that one
    with large messages holds up no other."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._consumers: set[int] = set()
        self.size_bytes = total_bytes

    def __contains__(self, number: int) -> bool:
        """Whether the consumer of this number has a part."""
        return number in self._consumers

    def take(self, number: int) -> None:
        self._consumers.add(number)
        self.size_bytes = self._total_bytes // len(self._consumers)

    def leave(self, number: int) -> None:
        self._consumers.discard(number)
        self.size_bytes = self._total_bytes // max(1, len(self._consumers))


class Intake:
    """The messages of one queue that are not acknowledged, and how many more there should be."""

    def __init__(self, limit: int) -> None:
        """``limit``: how many messages may be held, whatever they weigh."""
        self.least = 0  # that a consumer asks for; 1: there always is one
        self._limit = limit
        self._weights: dict[int, int] = {}  # delivery tag -> bytes
        self._heaviest = float(OVERHEAD_BYTES)
        self._came = 0  # from this consumer
        self._held: set[int] = set()  # of them
        self.held_bytes = 0
        self.asked = 0  # the prefetch of the consumer; 0 while there is none

    def __len__(self) -> int:
        return len(self._weights)

    def came(self, tag: int, weight: int, *, is_late: bool = False) -> None:
        """``is_late``: from a consumer before this one."""
        self._weights[tag] = weight
        self.held_bytes += weight
        if not is_late:
            self._came += 1
            self._held.add(tag)
        self._heaviest = max(float(weight), self._heaviest * LIGHTER)

    def heavier(self, tag: int, by_bytes: int) -> None:
        """A message takes more, now that it was read."""
        if tag in self._weights:
            self._weights[tag] += by_bytes
            self.held_bytes += by_bytes
            self._heaviest = max(float(self._weights[tag]), self._heaviest)

    def weight_of(self, tag: int) -> int:
        """Of one that is held."""
        return self._weights.get(tag, 0)

    def gone(self, tag: int) -> None:
        self._held.discard(tag)
        self.held_bytes -= self._weights.pop(tag, 0)

    def begin(self, share_bytes: int) -> int:
        """A consumer begins. Returns the prefetch to ask for; 0 if there should be none until more is acknowledged."""
        self._came = 0
        self._held.clear()
        self.asked = max(self.least, self._most(share_bytes) if self.held_bytes <= RESUME * share_bytes else 0)
        return self.asked

    def is_to_change(self, share_bytes: int) -> bool:
        """Whether the consumer is to be cancelled, and another to begin."""
        if self.held_bytes > share_bytes:
            return self.asked > self.least
        if self.asked > 1 and self.asked * self._heaviest > 2 * share_bytes:
            return True
        if self._came < self.asked:
            return False
        if self._limit - len(self._weights) < 1.5 * self.asked and len(self._held) < self.asked:
            return False  # whatever they weigh
        most = self._most(share_bytes)
        if most >= 1.5 * self.asked:
            return True
        # RabbitMQ sends no more, though there may be many more, or though what is held may be held for long.
        is_heavy = FIRST * self._heaviest > share_bytes - self.held_bytes
        has_room = self.held_bytes <= RESUME * share_bytes
        return len(self._held) >= self.asked and most >= (1 if is_heavy and has_room else FIRST)

    def _most(self, share_bytes: int) -> int:
        """How many messages the next consumer may ask for, beside those that are held."""
        fitting = max(1, int((share_bytes - self.held_bytes) / self._heaviest))
        return max(0, min(self._limit - len(self), fitting, max(FIRST, GROWTH * self.asked)))
