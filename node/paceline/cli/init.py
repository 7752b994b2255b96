"""``paceline init``: the cluster file goes to stdout, so that its place is the user's choice."""

from __future__ import annotations

import sys

import click

from paceline.config import EXPECT_MAX, new_cluster


@click.command()
@click.option(
    "--nodes", required=True, type=click.IntRange(1, EXPECT_MAX), help="How many machines the cluster starts with."
)
@click.option("--name", help="The cluster's name. Default: paceline- and six random digits.")
def init(nodes: int, name: str | None) -> None:
    """Write the file that makes several machines one cluster.

    \b
    paceline init --nodes 3 > cluster.toml
    chmod 600 cluster.toml        # it holds the cluster's secret key
    paceline node tasks.py --cluster cluster.toml      # the same file and command on each machine
    """
    click.echo(new_cluster(nodes, name=name).dumps(), nl=False)
    if sys.stdout.isatty():
        click.echo("paceline: this is a secret; keep it in a file: paceline init ... > cluster.toml", err=True)
