"""Every message that a paceline process sends to another, as plain typed values.

What lives here: the shapes, all of them, in a file for each conversation: ``client.py`` and ``live.py``,
``membership.py``, ``consensus.py``, ``work.py``, ``children.py``, and ``trace.py`` of what passes through several. In
each they are in the order of the grammar in docs/protocol.md, so that the two can be read side by side. What does not:
bytes (``codec.py``), meaning (the core, the client, the worker).

What there is to say of a message stands in one place: over its class its number on the wire and who sends it
(``message.py``), in it its fields, whose types say what is valid. The tables of the codec (``kinds.py``) and of the
receivers (:func:`~paceline_protocol.messages.message.sent_by`) follow from that; the unions at the end of each file,
and here, are the same once more for the type checker, and a test compares them.

A message is one frame, and a named tuple, so that the codec packs it as it is. Messages between peers travel as a
batch: one Envelope frame, then any number of message frames, so that cluster id and sender are written once per batch.
Calls, outcomes and what else is made for each task are plain tuples (``records.py``).
"""

from typing import TypeAlias

from paceline_protocol.messages.children import ToWorkerMessage, WebMessage, WorkerMessage
from paceline_protocol.messages.client import ClientMessage, ClientReply
from paceline_protocol.messages.consensus import ConsensusMessage
from paceline_protocol.messages.membership import Envelope, MembershipMessage
from paceline_protocol.messages.work import WorkMessage

PeerMessage: TypeAlias = ConsensusMessage | MembershipMessage | WorkMessage
Message: TypeAlias = ClientMessage | ClientReply | Envelope | PeerMessage | WorkerMessage | ToWorkerMessage | WebMessage
