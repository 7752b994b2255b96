"""What is said of a message over its class, and of its fields in their types.

A message is registered when its file is imported, and to import one of these files is to import all of them.

Annotations of messages are objects and not strings, which ``kinds.py`` would take ten milliseconds to read in each
process.
"""

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

PROTOCOL_VERSION: Final = 1
"""Written in the second byte of every frame. A change that an older reader can't take raises it."""

# Types of fields that say more than Python's own. Each is named as in the grammar, and has its check in ``kinds.py``.
Id: TypeAlias = Annotated[bytes, "id"]
Name: TypeAlias = Annotated[str, "name"]
QueueName: TypeAlias = Annotated[str, "queue-name"]
RequestIds: TypeAlias = Annotated[tuple[Id, ...], "request-ids"]
LongString: TypeAlias = Annotated[str, "long-string"]
PackedCalls: TypeAlias = Annotated[bytes, "bytes<calls>"]
PackedArgs: TypeAlias = Annotated[bytes, "bytes<args>"]
PackedOutcomes: TypeAlias = Annotated[bytes, "bytes<outcomes>"]
PackedHeld: TypeAlias = Annotated[bytes, "bytes<held>"]
PackedDefaults: TypeAlias = Annotated[bytes, "bytes<defaults>"]
QueueNames: TypeAlias = Annotated[tuple[QueueName, ...], "queue-names"]
Tags: TypeAlias = Annotated[str, "tags"]
Amounts: TypeAlias = Annotated[str, "amounts"]
PackedDefinition: TypeAlias = Annotated[bytes, "bytes<definition>"]
PackedOwnSchedules: TypeAlias = Annotated[bytes, "bytes<owned>"]
PackedConfig: TypeAlias = Annotated[bytes, "bytes<config>"]
PackedValue: TypeAlias = Annotated[bytes, "bytes<payload>"]


class Sender(Enum):
    """Who sends a message, as its receiver sees it."""

    # Clients, to any node. What their connections showed says which of these they are.
    OBSERVER = "observer"  # may ask, and change nothing
    CLIENT = "client"  # has tasks run
    OPERATOR = "operator"  # a client with the key of the nodes
    NODE = "node"  # to a client
    PEER = "peer"  # a node to another
    WORKER = "worker"  # to its node
    WEB = "web process"  # to its node
    PARENT = "parent"  # a node to a child of its own


OF_ALL_CLIENTS: Final = (Sender.OBSERVER, Sender.CLIENT, Sender.OPERATOR)
OF_CLIENTS: Final = (Sender.CLIENT, Sender.OPERATOR)


class Said(NamedTuple):
    """What is said of a message over its class."""

    kind: int  # on the wire: never renumbered, never used again
    senders: frozenset[Sender]
    # Its fields were checked when they came into the sending process, and a second look would cost more than packing
    # them. All other kinds are read back before they leave.
    trusted: bool


MESSAGES: dict[type[Any], Said] = {}
"""Every message class."""
_Class = TypeVar("_Class", bound=type[Any])


def message(kind: int, *senders: Sender, trusted: bool = False) -> Callable[[_Class], _Class]:
    """The class below is a message."""

    def register(cls: _Class) -> _Class:
        MESSAGES[cls] = Said(kind, frozenset(senders), trusted)
        return cls

    return register


def sent_by(sender: Sender) -> frozenset[type[Any]]:
    """The classes of the messages that this one may send."""
    return frozenset(cls for cls, said in MESSAGES.items() if sender in said.senders)
