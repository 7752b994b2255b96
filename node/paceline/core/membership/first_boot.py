"""How the first cluster forms: each blank node gives one consent, and who holds enough of them forms the cluster.

Every blank node has exactly one consent, its own. When it sees ``expect`` blank nodes, itself included, it hands what
it holds to the lowest id among them, once; consents that it receives later go the same way, always towards a lower id.
A consent is thus in one place at any time, and is never given twice. The node that holds ``expect`` consents forms the
cluster, as its single voter. Two clusters would need 2 x ``expect`` consents, so the cluster is unique if ``expect`` is
more than half of the machines. If the node that holds the consents is gone for good, the others wait, and say so: only
a person can know that it will not come back.

A consent that is on its way is resent until it is confirmed; a set of ids can be received twice without harm. What was
handed on must survive a restart under the same id: it is part of :class:`~paceline.core.membership.identity.Identity`.
"""

from __future__ import annotations

from paceline.core.membership.identity import Identity
from paceline.core.settings import Settings
from paceline_protocol.messages import Consent, ConsentReceived


class FirstBoot:
    """One node's part in forming the first cluster; idle once the node belongs to one."""

    def __init__(self, settings: Settings, identity: Identity) -> None:
        self._settings = settings
        self._identity = identity

    def step(self, blank_peers: list[str]) -> tuple[str, Consent] | None:
        """Decide, given the blank peers that are live now. Returns a consent to send, with its recipient.

        Called again and again: a consent that is handed on stays in the identity, and is returned each time, until it
        is confirmed.
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

    def receive(self, consent: Consent) -> ConsentReceived:
        """Somebody handed consents to us."""
        self._identity.consents |= frozenset(consent.holders)
        return ConsentReceived(consent.holders)

    def confirmed(self, message: ConsentReceived) -> None:
        """Consents that we handed on have arrived."""
        if self._identity.handed_to:
            self._identity.consents -= frozenset(message.holders)

    def may_form(self) -> bool:
        """Whether this node holds enough consents to form the cluster."""
        identity = self._identity
        return (
            not identity.cluster_id and not identity.handed_to and 0 < self._settings.expect <= len(identity.consents)
        )

    def waiting_for(self, blank_peers: int) -> str:
        """What a blank node is waiting for, in words for a person; "" if it belongs to a cluster."""
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
