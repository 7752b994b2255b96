"""``paceline demo``: what is shown of ``paceline.demo``; the results on stdout, the progress on stderr."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import click

from paceline.cli.exits import CHECK_FAILED
from paceline.errors import MissingExtra

if TYPE_CHECKING:
    from paceline.demo.run import DemoProgress, DemoReport


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--amqp",
    metavar="URL",
    help="Show the bridge, too: publish to this RabbitMQ with pika, and with Celery if it is installed.",
)
@click.option("--keep", is_flag=True, help="Leave the surviving nodes running until Ctrl-C, to look around.")
def demo(as_json: bool, keep: bool, amqp: str | None) -> int:
    """Kill the leader of a local cluster in the middle of its work.

    Starts three nodes on this machine, counts the words of Python's standard library with them, kills the leader with
    SIGKILL halfway, and checks the count against one made by a single process. Exits with 1 if they differ.
    """
    show_messages = _bridge_demo(amqp) if amqp is not None else None
    from paceline.demo.nodes import NODES, DemoCluster
    from paceline.demo.run import run
    from paceline.demo.words import library_files
    from paceline.local.scratch import ScratchDirectory

    files = library_files()
    workers = 2 if (os.cpu_count() or 1) > NODES else 1
    scratch = ScratchDirectory("paceline-demo-")
    with scratch as directory, DemoCluster(scratch, workers) as cluster:
        click.echo(f"starting {NODES} nodes with {workers} worker{'s' if workers > 1 else ''} each ...", err=True)
        cluster.start()
        metrics = [f"http://{node.metrics_address}/metrics" for node in cluster.nodes]
        click.echo(f"metrics of the nodes, while they run: {', '.join(metrics)}", err=True)
        with _progress_bar(len(files)) as progress:
            report = run(cluster, files, progress)
        messages = None
        if show_messages is not None:
            survivors = [node.address for node in cluster.nodes if node.id != report.old_leader]
            messages = show_messages(amqp, cluster.cluster_path, survivors, cluster.notes_path, directory)
        click.echo(as_json_text(report, messages) if as_json else as_text(report, messages))
        if keep:
            survivors = [node.address for node in cluster.nodes if node.id != report.old_leader]
            click.echo(
                f"still running: {', '.join(survivors)}; look at them with\n"
                f"  paceline status --cluster {cluster.cluster_path} --connect {survivors[0]}\n"
                "Ctrl-C ends them.",
                err=True,
            )
            threading.Event().wait()
    return 0 if report.ok else CHECK_FAILED


def _bridge_demo(url: str) -> Callable[..., Messages]:
    """Import the bridge by name, since no other module of the node knows it. Raises MissingExtra, or ConfigError for
    the URL."""
    MissingExtra.check("pika", "rabbitmq")
    module = importlib.import_module("paceline_bridge.demo")
    module.check(url)
    show: Callable[..., Messages] = module.show
    return show


@contextmanager
def _progress_bar(files: int) -> Iterator[DemoProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from paceline.demo.run import DemoProgress

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console) as bar:
        row = bar.add_task("counting words", total=files)
        yield DemoProgress(
            completed=lambda number: bar.update(row, completed=number),
            killed=lambda node_id, number: console.print(
                f"killed the leader, node {node_id[:8]}, with SIGKILL after {number:,} files"
            ),
            checking=lambda: bar.update(row, description="counting again in one process, to compare"),
        )


class Messages(Protocol):
    """The results of messages from RabbitMQ: the note of a plain one, the sum that a Celery caller got, None without
    Celery."""

    @property
    def plain(self) -> str: ...

    @property
    def celery(self) -> int | None: ...


def as_text(report: DemoReport, messages: Messages | None = None) -> str:
    words = "\n".join(f"  {number:>9,}  {word}" for word, number in report.top)
    if report.failover_s is None:
        failover = "work did not go on after the kill"
    else:
        failover = f"{report.failover_s:.3f} s from the kill to the next completed task"
    if report.ok:
        check = f"nothing; {report.completed:,} of {report.files:,} files counted, equal to a count in one process"
    else:
        check = f"WRONG: {report.completed:,} of {report.files:,} files counted" + (
            "" if report.matches else ", and the words differ from a count in one process"
        )
    return (
        f"the ten most frequent of {report.words:,} words:\n{words}\n"
        f"failover: {failover} (leader {report.old_leader[:8]}, then {report.new_leader[:8]})\n"
        f"lost:     {check}\n"
        f"rate:     {report.tasks_per_s:,.0f} tasks/s, one a file: {report.files:,} files, {report.megabytes:.1f} MB "
        f"in {report.elapsed_s:.2f} s, the failover included" + ("" if messages is None else _messages_text(messages))
    )


def _messages_text(messages: Messages) -> str:
    celery = "not installed here" if messages.celery is None else f"add.delay(4, 4).get() == {messages.celery}"
    return f"\npika:     a task was given {messages.plain!r}, which basic_publish had sent\ncelery:   {celery}"


def as_json_text(report: DemoReport, messages: Messages | None = None) -> str:
    fields = asdict(report) | {"ok": report.ok, "tasks_per_s": report.tasks_per_s}
    if messages is not None:
        fields["messages"] = {"plain": messages.plain, "celery": messages.celery}
    return json.dumps(fields, ensure_ascii=False)
