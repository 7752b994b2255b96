"""How the first cluster forms: each blank node gives one consent, and a node that holds enough consents forms it.

Every blank node has exactly one consent, its own. When a node sees ``expect`` blank nodes, itself included, it gives
the consents that it holds to the node with the lowest id among them, once and for good. Consents that it receives later
go to the same node. So a consent is with one node at any time, is never given twice, and only ever moves to lower ids.
The node that holds ``expect`` consents forms the cluster, as its single voter. Two clusters would need 2 x ``expect``
consents, so the cluster is unique if ``expect`` is more than half of the machines. If the node that holds the consents
is gone for good, the others wait, and say so: only a person can know that it will not come back.

A node resends its consents until the receiver confirms them; a set of ids can be received twice without harm. Which
node the consents were given to must survive a restart under the same id, so that is part of
:class:`~paceline.core.membership.identity.Identity`.
"""

from __future__ import annotations

from collections.abc import Iterable

from paceline.core.membership.identity import Identity, check_node_id
from paceline.core.settings import Settings
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.membership import Consent


class FirstBoot:
    """One node's part in forming the first cluster; idle once the node belongs to one."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity

    def step(self, blank_peers: list[str]) -> tuple[str, Consent] | None:
        """Decide, given the blank peers that are live now. Returns the consents to send, with their recipient.

        The caller calls this again and again. Consents that were given away stay in the identity, and are returned each
        time, until the recipient confirms them.
        """
        identity = self._identity
        if identity.cluster_id or not self._settings.expect:
            return None
        if not identity.handed_to and 1 + len(blank_peers) >= self._settings.expect:
            lowest = min([identity.node_id, *blank_peers])
            if lowest != identity.node_id:
                identity.handed_to = lowest
        if identity.handed_to and identity.consents:
            return identity.handed_to, Consent(tuple(sorted(identity.consents)))
        return None

    def receive(self, consent: Consent) -> bool:
        """Another node gave its consents to this one. True if some of them are new: the identity has changed.

        A node that belongs to a cluster has no use for them, nor has who gave them: it joins that cluster. Raises
        PeerViolation for more consents than there can be nodes: each node has one."""
        identity = self._identity
        if identity.cluster_id or identity.consents.issuperset(consent.holders):
            return False
        consents = identity.consents | frozenset(consent.holders)
        if len(consents) > max(self._settings.peer_limit, self._settings.expect):
            raise PeerViolation(f"{len(consent.holders)} consents, and with them there would be {len(consents)}")
        for node_id in consent.holders:
            check_node_id(node_id)
        identity.consents = consents
        return True

    def confirmed(self, holders: Iterable[str]) -> None:
        """The node that this one gave its consents to has these."""
        if self._identity.handed_to:
            self._identity.consents -= frozenset(holders)

    def may_form(self) -> bool:
        """Whether this node holds enough consents to form the cluster."""
        identity = self._identity
        return (
            not identity.cluster_id and not identity.handed_to and 0 < self._settings.expect <= len(identity.consents)
        )

    def waiting_for(self, blank_peers: int) -> str:
        """What a blank node waits for, in words for a person; "" if the node belongs to a cluster."""
        identity, expect = self._identity, self._settings.expect
        if identity.cluster_id:
            return ""
        if not expect:
            return "waiting for a node of the cluster to answer"
        if identity.handed_to:
            return f"consent given to node {identity.handed_to}, which has not formed the cluster yet"
        if 1 + blank_peers < expect:
            return f"{1 + blank_peers} of {expect} nodes are here"
        return f"{len(identity.consents)} of {expect} consents are in"
