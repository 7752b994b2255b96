"""``paceline key``: who has a key of the cluster, in which role. Each command changes the cluster file, which is then
copied to every machine with a node: nodes that run read it again within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from paceline.cli.environment import setting
from paceline.cli.options import FilePath, to_json
from paceline.cli.output import complain
from paceline.cluster_file import ClientFile, ClusterFile, load_cluster
from paceline.errors import ConfigError
from paceline.key_changes import (
    drop_previous,
    issue,
    locked,
    make_next_known,
    overwrite,
    revoke,
    use_next,
    write_new,
)
from paceline.security import KeyRole

COPY = "Copy {path} to every machine with a node; nodes that run read it within seconds."


@click.group(no_args_is_help=False)
def key() -> None:
    """Say who may submit, and who may only look.

    Whoever has the cluster file itself may do everything. These commands make other files, which may do less: a client
    has tasks run, an observer asks. Their holders use them as a cluster file: --cluster FILE, PACELINE_CLUSTER.

    \b
    paceline key client shop --cluster cluster.toml       # writes shop.toml, and its public key into cluster.toml
    paceline key observer grafana --cluster cluster.toml
    paceline key revoke shop --cluster cluster.toml

    Every command but list and update changes the cluster file. Copy it to the machines then, in any order; no node is
    restarted.
    """


def _of_cluster(command: Callable[..., Any]) -> Callable[..., Any]:
    return setting(
        "--cluster", "path", metavar="FILE", required=True, type=FilePath(), help="The cluster file of the nodes."
    )(command)


_name = click.argument("name")
_out = click.option("--out", type=FilePath(), help="The file to write. Default: NAME.toml.")


@key.command()
@_name
@_out
@_of_cluster
def client(name: str, out: Path | None, path: Path) -> None:
    """Write the file of a client: it submits, cancels and asks."""
    _issue(name, KeyRole.CLIENT, out, path)


@key.command()
@_name
@_out
@_of_cluster
def observer(name: str, out: Path | None, path: Path) -> None:
    """Write the file of an observer: it asks, as `paceline status` and `paceline tasks` do, and changes nothing."""
    _issue(name, KeyRole.OBSERVER, out, path)


def _issue(name: str, role: KeyRole, out: Path | None, path: Path) -> None:
    with locked(path) as cluster:
        changed, file = issue(cluster, name, role)
        out = out or Path(f"{name}.toml")
        write_new(out, file.dumps())
        try:
            overwrite(path, changed.dumps())
        except ConfigError:
            out.unlink(missing_ok=True)  # no node will ever know it
            raise
    click.echo(f"{out}: the {role.value} {name}, for its holder alone. {COPY.format(path=path)}")


@key.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_of_cluster
def list_keys(as_json: bool, path: Path) -> None:
    """Show the keys there are."""
    cluster = ClusterFile.load(path)
    if as_json:
        rows = [{"name": each.name, "role": each.role.value, "public_key": each.public} for each in cluster.issued]
        click.echo(to_json({"cluster": cluster.name, "rotation": _rotation(cluster), "keys": rows}))
        return
    for each in cluster.issued:
        click.echo(f"{each.role.value:<9} {each.name:<24} {each.public}")
    if not cluster.issued:
        click.echo("no key was issued: only holders of the cluster file are served")
    if under_way := _rotation(cluster):
        click.echo(f"the pair of the nodes is being replaced: {under_way}")


def _rotation(cluster: ClusterFile) -> str:
    if cluster.next_keys is not None:
        return "the coming one is known; next: paceline key rotate --use"
    return "the previous one is still taken; next: paceline key rotate --finish" if cluster.previous_key else ""


@key.command(name="revoke")
@_name
@_of_cluster
def revoke_key(name: str, path: Path) -> None:
    """Take a key out: its holder is refused, also on connections that stand."""
    with locked(path) as cluster:
        overwrite(path, revoke(cluster, name).dumps())
    click.echo(f"{name} is revoked once the nodes know. {COPY.format(path=path)}")


@key.command()
@click.option("--use", is_flag=True, help="The second step: nodes serve with the new pair.")
@click.option("--finish", is_flag=True, help="The last step: the old pair is nobody's any more.")
@_of_cluster
def rotate(use: bool, finish: bool, path: Path) -> None:
    """Replace the pair that the nodes themselves have, in three steps.

    \b
    paceline key rotate             # makes the coming pair known; copy the file to all machines
    paceline key update CLIENT...   # the files of clients learn of it; give them to their holders
    paceline key rotate --use       # copy the file to all machines
    paceline key rotate --finish    # copy the file to all machines

    Before each step the file of the step before must be on every machine. Within a step the order does not matter, and
    everybody is served meanwhile.
    """
    if use and finish:
        raise click.UsageError("--use and --finish are two steps, with a copy to all machines between them; say one.")
    if use:
        change, said = use_next, "The new pair is used. Clients whose files were not updated are served no more."
    elif finish:
        change, said = drop_previous, "The old pair counts no more."
    else:
        change = make_next_known
        said = "The coming pair is made known. Then give clients new files: paceline key update."
    with locked(path) as cluster:
        overwrite(path, change(cluster).dumps())
    click.echo(f"{said} {COPY.format(path=path)}")


@key.command()
@click.argument("files", nargs=-1, required=True, type=FilePath())
@_of_cluster
def update(files: tuple[Path, ...], path: Path) -> int:
    """Tell FILES of clients by which keys and addresses they know the nodes now.

    Each file is settled by itself. The exit code is that of the first that could not be.
    """
    cluster = ClusterFile.load(path)
    failed: list[ConfigError] = []
    for file in files:
        try:
            click.echo(_updated(file, cluster))
        except ConfigError as error:
            failed.append(error)
            complain(f"paceline: error: {error}")
    return failed[0].exit_code if failed else 0


def _updated(file: Path, cluster: ClusterFile) -> str:
    """Update one file, and say what it is worth. Raises ConfigError."""
    held = load_cluster(file)
    if not isinstance(held, ClientFile) or held.name != cluster.name:
        raise ConfigError(f"{file} is no file of a client of the cluster {cluster.name!r}")
    overwrite(file, held.updated(cluster).dumps())
    if not any(key.public == held.keys.public for key in cluster.issued):
        return (
            f"{file} knows the nodes, and is of no use: the key of {held.client!r} was revoked, or issued with another "
            "cluster file; see `paceline key list`"
        )
    return f"{file} knows the nodes by {len(cluster.node_keys.servers)} key(s)"
