"""The token of a user: made once, by whoever is first, and never taken from a file that others may know."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.local_token import TOKEN_BYTES, password, read_token, token_path


def test_it_is_made_once_though_many_need_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "state" / "token"
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(read_token(path))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert len(found[0]) == TOKEN_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_one_that_others_could_read_or_write_is_refused_by_name(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    read_token(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"{path} could be read by other users.*remove it.*cluster file"):
        read_token(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_of_another_user_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "token"
    read_token(path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match=f"{path} belongs to another user .uid 65534"):
        read_token(path)


def test_what_is_no_token_or_no_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "token"
    for text in ("", "abc", "00" * 31, "zz" * 32, "00" * 64):
        path.touch(0o600)
        path.write_text(text)
        with pytest.raises(ConfigError, match="does not hold a token"):
            read_token(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"can't keep the token .*cluster file"):
        read_token(path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"can't keep the token .*cluster file"):
        read_token(tmp_path / "file" / "token")


def test_it_is_where_the_data_of_the_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert token_path({}) == Path("/home/ann/.local/state/paceline/token")
    assert token_path({"XDG_STATE_HOME": "/var/ann"}) == Path("/var/ann/paceline/token")
    assert token_path({"XDG_STATE_HOME": "relative"}) == token_path({})


def test_what_is_shown_at_one_port_is_of_no_use_at_another() -> None:
    token = bytes(range(TOKEN_BYTES))
    assert password(token, 7077) != password(token, 7078)
    assert password(token, 7077) != password(b"other", 7077)
    assert token.hex() not in password(token, 7077)
