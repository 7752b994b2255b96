"""A cluster on real network stacks, shared by the tests of this folder as long as each leaves it well."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from hosts.cluster import HostCluster
from hosts.network import NetworkError, why_not


class Shared:
    """The cluster that the tests share, made anew after a test that did not leave it well."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._cluster: HostCluster | None = None
        self._failure: Exception | None = None

    def take(self) -> HostCluster:
        if self._failure is not None:
            pytest.fail(f"no cluster started before: {self._failure}")  # one test that waits for that is enough
        if self._cluster is None:
            try:
                self._cluster = HostCluster(self._factory.mktemp("hosts")).__enter__()
            except Exception as error:
                self._failure = error
                raise
        return self._cluster

    def give_up(self) -> None:
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where there can be no network namespaces; fails instead where CI is set, so that none of this is lost."""
    reason = why_not()
    if reason and os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set: the tests on real network stacks must run there")
    if reason:
        pytest.skip(reason)


@contextmanager
def shaping() -> Iterator[None]:
    """The same for a link that is made slow, or such that it swallows what is large."""
    try:
        yield
    except NetworkError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no link can be made so here: {error}")


@pytest.fixture(scope="session")
def shared(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    shared = Shared(tmp_path_factory)
    yield shared
    shared.give_up()


_failed = pytest.StashKey[bool]()


@pytest.fixture
def cluster(shared: Shared, request: pytest.FixtureRequest) -> Iterator[HostCluster]:
    """Three nodes on three hosts, well before the test, and checked to be well after it."""
    cluster = shared.take()
    yield cluster
    if request.node.stash.get(_failed, False):
        shared.give_up()  # a test that failed leaves nothing to the next
        return
    try:
        cluster.hosts.heal()
        cluster.wait_healthy()
    except BaseException:
        shared.give_up()
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report
