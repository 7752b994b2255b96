"""One node: events and ``now`` in, effects out. ``core.py`` joins the parts, and its subject is their order.

``core``                  the methods that the shell calls, and the order in which parts are called and messages leave
``pacing``                when the effects are due, and when the log is to hear of what happened
``leader_role``           leading begins, is transferred, ends
``client_conversation``   messages from clients, and the replies to them
``peer_conversation``     messages from peers, and the batches to them
``work``                  tasks between a leader and the nodes that run them
"""

from paceline.core.node.core import NodeCore

__all__ = ["NodeCore"]
