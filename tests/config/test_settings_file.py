"""A file of settings that is nonsense, too much, or no file at all is refused by name, at once."""

from __future__ import annotations

import os
import secrets
import socket
import string
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.cluster_file import FILE_LIMIT_BYTES, ISSUED_MAX, ClusterFile, load_cluster, new_cluster
from paceline.errors import ConfigError
from paceline.local_token import NoToken, read_token
from paceline.security import IssuedKey, KeyRole
from paceline.settings_file import check_shape, read_settings

NONSENSE = {
    "brackets": "a = " + "[" * 100_000,
    "tables": "a = " + "{a = " * 100_000,
    "dots": ".".join(["a"] * 50_000) + " = 1",
    "dots with spaces": " . ".join(["'a'"] * 50_000) + " = 1",
    "a header": f"[{'.'.join(['a'] * 50_000)}]",
    "digits": "a = " + "9" * 5_000,
    "bytes": "#" * FILE_LIMIT_BYTES + "#",
    "quotes": '"""' + '\\"""' * 50_000,
}


def written(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused_with_a_short_message(tmp_path: Path, what: str) -> None:
    path = written(tmp_path / "cluster.toml", NONSENSE[what])
    with pytest.raises(ConfigError, match="is not a cluster file") as caught:
        load_cluster(path)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("setting", ["expect", "issued_keys"])
def test_a_number_that_python_can_not_write_is_refused_all_the_same(tmp_path: Path, setting: str) -> None:
    lines = [line for line in new_cluster(3).dumps().splitlines() if not line.startswith(setting)]
    lines.insert(0, f"{setting} = 0x{'f' * 5000}")
    with pytest.raises(ConfigError, match=f"{setting} is of type int"):
        load_cluster(written(tmp_path / "cluster.toml", "\n".join(lines)))


def test_what_a_message_shows_of_a_value_is_short(tmp_path: Path) -> None:
    text = new_cluster(3, "farm").dumps().replace('"farm"', f'"{"x" * 100_000}"')
    with pytest.raises(ConfigError) as caught:
        load_cluster(written(tmp_path / "cluster.toml", text))
    assert len(str(caught.value)) < 400


def test_the_largest_file_that_may_be_is_read(tmp_path: Path) -> None:
    def key() -> str:
        return "".join(secrets.choice(string.ascii_lowercase) for _ in range(40))

    issued = tuple(IssuedKey(f"{number:063}", KeyRole.OBSERVER, key()) for number in range(ISSUED_MAX))
    cluster = replace(new_cluster(3, "x" * 63), issued=issued, addresses=("host.example.org:7077",) * 20)
    assert load_cluster(written(tmp_path / "cluster.toml", cluster.dumps())) == cluster


def test_what_stands_in_quotes_or_behind_a_hash_is_no_nesting() -> None:
    dots, brackets = "." * 100, "[" * 100
    check_shape(f"a = '{dots}'\nb = \"{brackets}\\\"{dots}\"\n# {brackets}\nc = '''\n{dots}'''\nd = [1.5, 2.5]\n" * 20)
    check_shape(f'a = """{dots}\\"""{brackets}"""')
    for text in (f"{dots}", f"'a'{dots}", f'"""x"""{brackets}', f"# x\n{brackets}"):
        with pytest.raises(ValueError, match="deep"):
            check_shape(text)


def not_a_file(path: Path, kind: str) -> None:
    if kind == "a named pipe":
        os.mkfifo(path, 0o600)
    elif kind == "a directory":
        path.mkdir(0o700)
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))


@pytest.mark.parametrize("kind", ["a named pipe", "a directory", "a socket"])
def test_what_is_no_file_is_refused_at_once_and_nothing_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = Path("c")
    not_a_file(path, kind)
    with pytest.raises(ConfigError, match="can't read the cluster file c: "):
        ClusterFile.load(path)
    with pytest.raises(OSError, match="No such device" if kind == "a socket" else f"it is {kind} and no file"):
        read_settings(path, 1000)
    with pytest.raises(NoToken, match="can't keep the token of this user in c: "):
        read_token(path)
