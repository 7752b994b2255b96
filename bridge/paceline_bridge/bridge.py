"""The bridge: takes messages from RabbitMQ, has the cluster run them, answers Celery callers.

It lives in lives. One life is a client of the cluster and a link to RabbitMQ. If either is lost, both are dropped with
all that was under way, and the next life begins after a pause: RabbitMQ delivers again what was not acknowledged, the
bridge submits it under the same ids, and the cluster says how it ended or will end. So the loss of a connection is the
same case as the death of the process, and there is one way back from both.

What a life does is in ``life.py``. Beside it, and longer than it, a thread asks the cluster each second how full it is
(``watch.py``).
"""

from __future__ import annotations

import logging
import random
import threading

from paceline.errors import ConfigError
from paceline_bridge.config import BridgeConfig
from paceline_bridge.counters import Counters
from paceline_bridge.deliveries import Entry
from paceline_bridge.life import CLUSTER_GONE, Life, MakeRelay
from paceline_bridge.rabbitmq import LinkLost
from paceline_bridge.troubles import Bindings, Failures
from paceline_bridge.watch import Watch, describe

RETRY_MIN_S = 0.2
RETRY_MAX_S = 30.0
STEADY_S = 30.0
"""A life that was ready for so long was a good one: the pause after it is short. Shorter ones may have one cause that
comes back at once, and each costs what RabbitMQ delivers again."""

_logger = logging.getLogger("paceline.bridge")


class Bridge:
    """Runs until it is stopped. ``counters`` may be read by any thread."""

    def __init__(self, config: BridgeConfig, make_relay: MakeRelay) -> None:
        self._config = config
        self._make_relay = make_relay
        self.counters = Counters()
        self._stopping = threading.Event()
        self._life: Life | None = None
        self._told = ""
        self._failures = Failures()
        self._watch = Watch(make_relay(_no_news), lambda: describe(config, self.counters), Bindings(config))

    def stop(self) -> None:
        """From any thread: take no more deliveries, acknowledge what is accepted, leave the rest to RabbitMQ."""
        self._stopping.set()
        life = self._life
        if life is not None:
            life.stop()

    def run(self) -> None:
        """Returns once it was stopped. Every failure is logged, and tried again with a pause that grows."""
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
        owed: list[Entry] = []
        while not self._stopping.is_set():
            if not urls:
                urls = list(self._config.urls)
                random.shuffle(urls)
            life: Life | None = None
            try:
                life = self._life = Life(
                    self._config, urls.pop(), self._make_relay, self.counters, self._watch, self._failures
                )
                life.carry(owed)
                if self._stopping.is_set():  # it may have been stopped before there was a life to stop
                    break
                life.run()
            except (LinkLost, ConfigError, *CLUSTER_GONE) as error:
                if not self._stopping.is_set():
                    self._tell(str(error))
            except Exception:
                # A defect. What was under way comes again; whoever supervises the process could do no more.
                _logger.exception("the bridge failed and begins anew; please report this")
            if life is not None:
                owed = life.owed()
                if life.ready_for_s() >= STEADY_S:
                    pause_s = RETRY_MIN_S
                if life.was_ready and not self._stopping.is_set():
                    self._told = ""
            self.counters.lost()
            self.counters.connections_lost += not self._stopping.is_set()
            self._stopping.wait(random.uniform(0, pause_s))
            pause_s = min(pause_s * 2, RETRY_MAX_S)

    def _tell(self, text: str) -> None:
        """One line for each new trouble, and not for each try."""
        if text != self._told:
            self._told = text
            _logger.warning("%s; trying again", text)


def _no_news() -> None:
    """For a relay that submits nothing."""
