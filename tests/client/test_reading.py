"""What a client does about tasks that it only reads, in virtual time."""

from __future__ import annotations

import pytest

from client.session_rig import Rig, succeeded, task_id, welcome
from paceline.errors import NotAllowed, RequestRefused, ResultExpired, ResultUnknown
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import Failure, Read, Refusal, Wait


def reading(*numbers: int) -> Rig:
    rig = Rig()
    rig.attach()
    for number in numbers:
        rig.session.read(task_id(number), rig.now)
    return rig


def again(rig: Rig) -> list[object]:
    """What is sent on a new connection."""
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    return [message for _, message in rig.sent()]


def test_what_is_read_is_asked_for_once_and_again_on_each_new_connection() -> None:
    rig = reading(1)
    rig.session.read(task_id(1), rig.now)
    assert [message for _, message in rig.sent() if isinstance(message, Read)] == [Read(0, (task_id(1),))]
    rig.session.lost("a:1", rig.now)
    assert again(rig) == [Read(0, (task_id(1),))]
    rig.update(1, results=[succeeded(1)])
    assert rig.session.output.results == [succeeded(1)]
    rig.session.lost("a:1", rig.now)
    assert not rig.session.expects_answer


def test_what_is_submitted_here_is_not_asked_for_apart() -> None:
    rig = reading()
    rig.submit(1)
    rig.update(1, accepted=[1])
    rig.sent()
    rig.session.read(task_id(1), rig.now)
    assert rig.sent() == []
    rig.session.read(task_id(2), rig.now)
    rig.session.lost("a:1", rig.now)
    assert again(rig) == [Wait(0, (task_id(1),)), Read(0, (task_id(2),))]


def test_more_than_a_request_names_are_asked_for_in_several() -> None:
    rig = reading(*range(MAX_REQUEST_TASKS + 1))
    rig.session.lost("a:1", rig.now)
    assert [len(message.ids) for message in again(rig) if isinstance(message, Read)] == [MAX_REQUEST_TASKS, 1]


def test_after_an_interrupt_it_is_still_only_read() -> None:
    rig = reading(1)
    rig.session.start_over([task_id(1)], rig.now)
    assert again(rig) == [Read(0, (task_id(1),))]


@pytest.mark.parametrize(
    ("code", "error"), [(Refusal.UNKNOWN_ID, ResultUnknown), (Refusal.RESULT_EXPIRED, ResultExpired)]
)
def test_what_can_not_be_told_is_an_error_of_its_own(code: Refusal, error: type[Exception]) -> None:
    rig = reading(1)
    rig.update(1, refused=[(task_id(1), code, "the detail")])
    ((failed_id, raised),) = rig.session.output.failed
    assert (failed_id, type(raised), str(raised)) == (task_id(1), error, "the detail")
    assert not rig.session.expects_answer


@pytest.mark.parametrize(("code", "error"), [(Refusal.FORBIDDEN, NotAllowed), (Refusal.BAD_REQUEST, RequestRefused)])
def test_a_client_that_may_not_read_is_told_and_asks_no_more(code: Refusal, error: type[Exception]) -> None:
    rig = reading(1)
    rig.hear("a:1", Failure(code, "the detail"))
    ((failed_id, raised),) = rig.session.output.failed
    assert (failed_id, type(raised)) == (task_id(1), error)
    rig.session.lost("a:1", rig.now)
    assert not rig.session.expects_answer
