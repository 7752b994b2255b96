"""No accepted task is lost."""

from __future__ import annotations

from paceline_protocol.messages.client import CancelState
from simulation.oracle.events import CancelAnswered, ToldAccepted, Totals
from simulation.oracle.promise import Promise


class AcceptedTasks(Promise):
    says = "an accepted task is never lost"

    def on_told_accepted(self, event: ToldAccepted) -> None:
        story = self.record.stories[event.task_id]
        if story.is_logged and story.accepted_at is None:
            self.broken("called accepted before it was committed", story)

    def on_cancel_answered(self, event: CancelAnswered) -> None:
        story = self.record.stories[event.task_id]
        was_accepted = story.told_accepted_at is not None and story.told_accepted_at < event.asked_at_s
        if event.state == CancelState.UNKNOWN and was_accepted and story.is_logged:
            self.broken("called unknown after it was called accepted", story)

    def on_totals(self, event: Totals) -> None:
        accepted = sum(story.accepted_at is not None for story in self.record.stories.values())
        if event.recorded != accepted:
            self.broken(f"{event.recorded} outcomes are recorded, of {accepted} tasks")

    def at_end(self) -> None:
        for story in self.record.stories.values():
            is_nobodys = story.told_expired or story.requeued_from or story.client_gone_at is not None
            if story.told is None and not is_nobodys:
                self.broken("nobody was told how it ended", story)
            if story.accepted_at is not None and story.outcome is None:
                self.broken("accepted, and has no outcome in the log", story)
