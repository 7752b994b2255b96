"""Calls that depend on tasks: what a future among their arguments becomes as they are packed.

Of a task that has not ended a reference is packed, with its id in the options of the call, and the cluster puts the
result in place. Of one that has, the client has the result, and the cluster may have it no longer: so the value itself
is packed. In between the cluster may refuse the call, as it has released the result meanwhile. Then the call is packed
anew here, with what has come, and submitted again: to the next leader too, if that is who is asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from paceline.client.future import Future
from paceline.errors import ConfigError, InputUnknown, UpstreamFailed
from paceline_protocol.forms import Reference, form_of, is_reference, packable, read_reference, reference_form
from paceline_protocol.inputs import AFTER, INPUTS, split, with_ids
from paceline_protocol.limits import MAX_INPUTS
from paceline_protocol.messages.records import CALL_ARGS, CALL_ID, CALL_NAME, CALL_OPTIONS, CALL_PRIORITY, Call, Options
from paceline_protocol.options import by_name, is_by_name
from paceline_protocol.payload import Packers, pack_args, unpack_args

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver, PackedCall

FUTURES: Final = "futures"
"""Among the options of a packed call, until it is submitted: the futures of its inputs, as far as it was given any. Not
beside them: compiled code makes other tuples of a call, of which the options are the same."""
LOOKED_AT: Final = 4
"""Of the calls whose inputs are kept, how many are looked at with each new one."""


class _Packing:
    """One call that is packed. ``ids``: the tasks to whose results it has references."""

    def __init__(self, owner: Driver | None, allows_failed: bool, known: Mapping[bytes, Future[Any]]) -> None:
        """``owner``: whose the futures have to be; None: it is packed again, of references. ``known``: the futures of
        these."""
        self.ids: dict[bytes, Future[Any] | None] = {}
        self._owner = owner
        self._allows_failed = allows_failed
        self._known = known

    def form_of(self, value: object) -> object:
        """What the packer packs in place of a value that msgpack has not."""
        if not is_reference(value):
            return form_of(value)
        if not isinstance(value, Reference):
            assert isinstance(value, Future), "nothing else is taken for a reference"
            return self._of(value)
        future = self._known.get(value.task_id)
        if future is None or len(value.form) > len(value.task_id):
            if len(value.form) == len(value.task_id):
                self.ids[value.task_id] = None
            return reference_form(value.form)
        return self._of(future)

    def _of(self, future: Future[Any]) -> object:
        _check_owner(self._owner, future)
        if not future.done():
            self.ids[future.task_id] = future
            return reference_form(future.task_id)
        if future.has_succeeded:
            return packable(future.described(0))
        if not self._allows_failed:
            raise upstream_failed(future)
        end, payload = future.ended_as
        return reference_form(b"".join((future.task_id, bytes((end,)), payload)))


def after_of(target: object, options: Options | None) -> tuple[Any, ...]:
    """What is to end before the calls of a target with these options may start, as its user gave it."""
    if options is None or AFTER not in options:
        return ()
    chosen = getattr(target, "chosen", target)
    after = getattr(chosen, "after", ())
    return after if type(after) is tuple else ()


def packed_call(
    owner: Driver | None,
    parts: tuple[str, int, Options | None],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    limit_bytes: int | None,
    after: tuple[Any, ...],
) -> PackedCall:
    """A call as it is submitted, of which the arguments may have futures among them. Of others ``pack_args`` alone
    makes the same, which is less than half the work. Raises UnserializableValue, PayloadTooLarge; UpstreamFailed for an
    input that has not succeeded; ConfigError for a future of another client, and for more than MAX_INPUTS."""
    name, priority, options = parts
    allows_failed = bool(options and options.get("allow_failed_inputs"))
    packing = _Packing(owner, allows_failed, {})
    packed = pack_args(args, kwargs, limit_bytes, Packers(packing.form_of))
    ids = list(packing.ids)
    if len(ids) > MAX_INPUTS:
        raise ConfigError(
            f"a call of {name} has {len(ids)} futures among its arguments, and may have {MAX_INPUTS}; have other tasks "
            "gather some of them first"
        )
    if not ids and not after:  # the futures have succeeded, or there were none
        return name, priority, packed, options
    waits_for, futures = _waits_for(owner, after, allows_failed)
    found = with_ids(with_ids(options, INPUTS, ids), AFTER, [each for each in waits_for if each not in packing.ids])
    if options is not None and is_by_name(options):
        found = by_name(found or {})
    if not found:
        return name, priority, packed, None if options is None else found
    known = (*[future for future in packing.ids.values() if future is not None], *futures)
    return name, priority, packed, {**found, FUTURES: known} if known else found


def _waits_for(
    owner: Driver | None, after: Iterable[Any], allows_failed: bool
) -> tuple[list[bytes], list[Future[Any]]]:
    """The ids of those of these tasks that have not ended, as far as is known, and the futures among them."""
    ids: dict[bytes, None] = {}
    futures: list[Future[Any]] = []
    for each in after:
        if not isinstance(each, Future):
            ids[each if isinstance(each, bytes) else bytes.fromhex(each.replace("-", ""))] = None
            continue
        _check_owner(owner, each)
        if not each.done():
            ids[each.task_id] = None
            futures.append(each)
        elif not each.has_succeeded and not allows_failed:
            raise upstream_failed(each)
    return list(ids), futures


def _check_owner(owner: Driver | None, future: Future[Any]) -> None:
    """Raises ConfigError for a future of another client."""
    if owner is not None and not future.is_of(owner):
        raise ConfigError(
            f"{future!r} is of another client, and its cluster may be another one; if it is not, "
            "client.task(future.task_id) makes one of this client"
        )


def upstream_failed(future: Future[Any]) -> UpstreamFailed:
    """What becomes of a task that depends on this one, which did not succeed."""
    error = future.exception(0)
    if isinstance(error, UpstreamFailed):
        passed_on = UpstreamFailed(error.message, error.task_id)
        passed_on.__cause__ = error.__cause__
        return passed_on
    failed = UpstreamFailed(f"task {future.task_id.hex()}, which it depends on, did not succeed", future.task_id.hex())
    failed.__cause__ = error
    return failed


class InputsOfCalls:
    """The futures of the inputs of calls that may have to be packed again: until the cluster has accepted these."""

    def __init__(self) -> None:
        self._futures: dict[bytes, tuple[Future[Any], ...]] = {}
        self._order: deque[bytes] = deque()

    def keep(self, task_id: bytes, call: PackedCall, is_accepted: Callable[[bytes], bool]) -> None:
        """This call is submitted. Its futures are taken out of its options, which are its own."""
        for _ in range(min(LOOKED_AT, len(self._order))):
            if not is_accepted(self._order[0]):
                break
            self._futures.pop(self._order.popleft(), None)
        options = call[3]
        assert options is not None, "they name the inputs"
        self._futures[task_id] = options.pop(FUTURES, ())
        self._order.append(task_id)

    def packed_again(self, call: Call, detail: str, is_accepted: Callable[[bytes], bool]) -> Call:
        """A call with the results of those of its inputs that have ended. The same, if one of them is to be submitted
        again itself, before it. Raises InputUnknown if that changes nothing, UpstreamFailed and PayloadTooLarge."""
        options = call[CALL_OPTIONS] or {}
        known = {future.task_id: future for future in self._futures.get(call[CALL_ID], ())}
        ended = {task_id: future for task_id, future in known.items() if future.done()}
        if not ended:
            if all(map(is_accepted, known)):
                raise InputUnknown(detail)
            return call
        allows_failed = bool(options.get("allow_failed_inputs"))
        packing = _Packing(None, allows_failed, ended)
        args, kwargs = unpack_args(call[CALL_ARGS], put=read_reference)
        packed = pack_args(args, kwargs, None, Packers(packing.form_of))
        after: list[bytes] = []
        for task_id in split(options.get(AFTER)):
            future = ended.get(task_id)
            if future is None:
                after.append(task_id)
            elif not future.has_succeeded and not allows_failed:
                raise upstream_failed(future)
        found = with_ids(with_ids(options, INPUTS, packing.ids), AFTER, after)
        self._futures[call[CALL_ID]] = tuple(future for task_id, future in known.items() if task_id not in ended)
        return call[CALL_ID], call[CALL_NAME], call[CALL_PRIORITY], packed, found or None
