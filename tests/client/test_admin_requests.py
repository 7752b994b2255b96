"""A client asks for a change of the cluster, and asks the next leader if the first one goes."""

from __future__ import annotations

from client.session_rig import Rig, welcome
from paceline_protocol.messages import Admin, AdminOp, AdminReply, Redirect


def admins(rig: Rig) -> list[tuple[str, Admin]]:
    return [(address, message) for address, message in rig.sent() if isinstance(message, Admin)]


def test_a_request_goes_to_the_leader_and_its_answer_is_kept_for_who_asked() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.admin(AdminOp.PROMOTE, "n1", rig.now)
    assert admins(rig) == [("a:1", Admin(request, AdminOp.PROMOTE, "n1"))]
    assert rig.session.expects_answer
    rig.hear("a:1", AdminReply(request, True, "it votes"))
    assert rig.session.admin_replies == {request: (True, "it votes")}
    assert not rig.session.expects_answer
    rig.session.forget_request(request)
    assert rig.session.admin_replies == {}


def test_a_request_waits_for_a_leader() -> None:
    rig = Rig()
    request = rig.session.admin(AdminOp.VOTERS, "5", rig.now)
    assert admins(rig) == []
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert admins(rig) == [("a:1", Admin(request, AdminOp.VOTERS, "5"))]


def test_a_leader_that_hands_over_answers_nothing_and_the_next_one_is_asked() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    request = rig.session.admin(AdminOp.TRANSFER, "b:1", rig.now)
    rig.hear("a:1", Redirect(2, "b:1", "b:1"))
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    assert admins(rig) == [("b:1", Admin(request, AdminOp.TRANSFER, "b:1"))]
    rig.hear("b:1", AdminReply(request, True, "leads"))
    assert rig.session.admin_replies[request] == (True, "leads")


def test_an_answer_that_nobody_waits_for_is_dropped() -> None:
    rig = Rig()
    rig.attach()
    request = rig.session.admin(AdminOp.VOTERS, "5", rig.now)
    rig.session.forget_request(request)
    rig.hear("a:1", AdminReply(request, True, "late"))
    assert rig.session.admin_replies == {}
