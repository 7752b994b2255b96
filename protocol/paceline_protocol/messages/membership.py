"""How nodes get to know each other and form a cluster, and the head of each batch between them."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from typing import NamedTuple, TypeAlias

from paceline_protocol.messages.message import Sender, message


@message(40, Sender.PEER)
class Envelope(NamedTuple):
    """The first frame of a batch between peers."""

    cluster_id: str  # "" while the sender belongs to no cluster
    sender: str  # node id
    incarnation: int  # grows with each start of a node id
    recipient: str  # node id, "" when the sender knows only an address
    start: int = 0  # another one for each process that runs as this node; of two, that which began later has the higher
    main_before: int = 0  # how far this process has counted what it sends the recipient by the main connection
    main_bytes: int = 0  # the same, with this batch
    is_quick: bool = False  # this batch is for the quick connection


@message(41, Sender.PEER)
class PeerHello(NamedTuple):
    """Who I am and whom I know. Sent to every address that discovery or a peer names, until it answers with its own."""

    address: str  # where the sender's ROUTER can be reached
    cluster_name: str
    expect: int  # nodes that must consent before a cluster forms
    leader_id: str
    term: int
    known: tuple[tuple[str, str], ...]  # (node id, address) of live peers
    reply: bool  # True: this answers a PeerHello, don't answer it again
    metrics_address: str = (
        ""  # where the sender's metrics are served, "" if nowhere; a loopback address is on its machine
    )
    feature_level: int = 1  # the highest that the sender understands
    cluster_level: int = 0  # of its cluster, 0 if the sender keeps no log that says so
    version: str = ""  # of the sender's package, for people
    others: tuple[str, ...] = ()  # where the sender's ROUTER may be reached besides, for who can't at its address
    to: str = ""  # the address that this was sent to; of an answer, the one that what it answers was sent to


@message(42, Sender.PEER)
class Consent(NamedTuple):
    """Gives first-boot consents. Each node has exactly one, and gives on what it holds at most once."""

    holders: tuple[str, ...]  # node ids whose consent this carries


@message(43, Sender.PEER)
class ConsentReceived(NamedTuple):
    holders: tuple[str, ...]


@message(44, Sender.PEER)
class OtherStart(NamedTuple):
    """To a process, at its address: another one runs, or ran, as the same node. Late ones harm nobody: they name whom
    they are for."""

    start: int  # the process that this is for
    other: int  # the start of the other one
    address: str  # where the other one is
    incarnation: int  # of the other one
    ends: (
        bool  # True: the recipient is to end. False: the other one counts, unless the recipient still lives and says so
    )


MembershipMessage: TypeAlias = PeerHello | Consent | ConsentReceived | OtherStart
