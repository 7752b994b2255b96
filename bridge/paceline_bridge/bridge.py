"""The bridge: takes messages from RabbitMQ, has the cluster run them, answers Celery callers.

The bridge runs as a sequence of lives (``life.py``). A life is a client of the cluster and a link to RabbitMQ. If
either is lost, both are dropped with all that was under way, and the next life begins after a pause: RabbitMQ delivers
again every message that was not acknowledged, the bridge submits the tasks under the same ids, and the cluster tells
how they ended or will end. So losing a connection is the same case as the death of the process, and one recovery serves
both.

Beside the lives, a thread asks the cluster each second how full it is (``watch.py``). It outlives each life.
"""

from __future__ import annotations

import logging
import random
import threading

from paceline.errors import PacelineError
from paceline_bridge.config import BridgeConfig
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.life import Life, MakeRelay
from paceline_bridge.owed import OwedTask
from paceline_bridge.rabbitmq import LinkLost
from paceline_bridge.reasons import reason_of
from paceline_bridge.troubles import Bindings, Troubles
from paceline_bridge.watch import Watch, describe

RETRY_MIN_S = 0.2
RETRY_MAX_S = 30.0
STEADY_S = 30.0
"""After a life that was ready for so long the pause is short. Shorter lives may end of a cause that comes back at once,
and RabbitMQ delivers all unacknowledged messages again after each."""

_logger = logging.getLogger("paceline.bridge")


class Bridge:
    """Runs until it is stopped. ``counters`` may be read by any thread."""

    def __init__(self, config: BridgeConfig, make_relay: MakeRelay) -> None:
        self._config = config
        self._make_relay = make_relay
        self.counters = BridgeCounters()
        self._stopping = threading.Event()
        self._life: Life | None = None
        self._told = ""
        self._troubles = Troubles()
        self._watch = Watch(
            make_relay(_no_news), lambda: describe(config, self.counters), Bindings(config), self.counters
        )

    def stop(self) -> None:
        """From any thread: take no more deliveries, acknowledge those whose tasks are accepted, and leave the others to
        RabbitMQ."""
        self._stopping.set()
        life = self._life
        if life is not None:
            life.stop()

    def run(self) -> None:
        """Run lives until :meth:`stop`. Each failure is logged, and followed by a new life after a growing pause."""
        _logger.info("looking for the cluster and RabbitMQ")
        self._watch.start()
        try:
            self._live()
        finally:
            self._watch.close()
            self.counters.state = "stopped"
        _logger.info("the bridge has stopped")

    def _live(self) -> None:
        pause_s = RETRY_MIN_S
        urls: list[str] = []
        owed: list[OwedTask] = []
        while not self._stopping.is_set():
            if not urls:
                urls = list(self._config.urls)
                random.shuffle(urls)
            life: Life | None = None
            try:
                life = self._life = Life(
                    self._config, urls.pop(), self._make_relay, self.counters, self._watch, self._troubles
                )
                life.carry(owed)
                if self._stopping.is_set():  # it may have been stopped before there was a life to stop
                    break
                life.run()
            except (LinkLost, PacelineError) as error:
                if not self._stopping.is_set():
                    self._tell(str(error))
            except OSError as error:  # this process may open no more files, or the like
                self._tell(f"the bridge can't go on: {reason_of(error)}")
            except Exception:
                # A defect of the bridge. RabbitMQ delivers again, so a restart by a supervisor would do no more than
                # this.
                _logger.exception("the bridge failed and begins anew; please report this")
            if life is not None:
                owed = life.owed()
                if life.ready_for_s() >= STEADY_S:
                    pause_s = RETRY_MIN_S
                if life.was_ready and not self._stopping.is_set():
                    self._told = ""
            self.counters.lost()
            self.counters.connections_lost += not self._stopping.is_set()
            self._stopping.wait(random.uniform(0, pause_s))  # noqa: S311 - a pause is no secret
            pause_s = min(pause_s * 2, RETRY_MAX_S)

    def _tell(self, text: str) -> None:
        """Log one line for each new failure, and not one for each try."""
        if text != self._told:
            self._told = text
            _logger.warning("%s; trying again", text)


def _no_news() -> None:
    """The callback of a relay that submits nothing, and so never has news."""
