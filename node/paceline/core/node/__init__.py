"""One node: events and ``now`` in, effects out. ``core.py`` joins the parts, and its subject is their order.

``core``                  what the shell calls, and which part hears of an event first, and what leaves before what
``pacing``                when the effects are due, and when the log is to hear of what happened
``leader_role``           leading begins, is transferred, ends
``client_conversation``   what clients say and are told
``peer_conversation``     what peers say, and how what is for them is wrapped up
``work``                  tasks between a leader and the nodes that run them
"""

from paceline.core.node.core import NodeCore

__all__ = ["NodeCore"]
