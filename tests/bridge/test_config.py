"""Settings of a bridge: where they come from, and what is said of those that can't be used."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.processes import BridgeProcess
from paceline.cli.app import run
from paceline.cluster_file import ClusterFile, new_cluster
from paceline.errors import ConfigError
from paceline.key_changes import drop_previous, issue, make_next_known, use_next
from paceline.security import KeyRole
from paceline_bench.harness.server_process import HOST, free_ports
from paceline_bridge import cli
from paceline_bridge.amqp_url import parameters_of
from paceline_bridge.bridge import Bridge
from paceline_bridge.cli import config_of
from paceline_bridge.config import BridgeConfig, pairs_of, queues_of, shown, vhost_of

FILE = """
amqp = ["amqp://u:s3cret@one/v", "amqp://u:s3cret@two/v"]
prefetch = 7
prefetch_mib = 64
[queues]
celery = ""
plain = "tasks.add"
[tasks]
"shop.add" = "tasks.add"
"""


def config(
    *queues: str,
    amqp: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    path: Path | None = None,
    prefetch: int | None = None,
) -> BridgeConfig:
    return config_of(
        amqp=amqp,
        queues=queues,
        tasks=tasks,
        config_path=str(path) if path else None,
        declare=False,
        prefetch=prefetch,
        dead_letter=None,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(FILE)
    return path


def file_of(role: KeyRole, directory: Path, *addresses: str) -> Path:
    """A cluster file, or what `paceline key` makes from it."""
    cluster = replace(new_cluster(1), addresses=addresses)
    path = directory / "shop.toml"
    path.touch(mode=0o600)
    path.write_text((cluster if role is KeyRole.NODE else issue(cluster, "shop", role)[1]).dumps())
    return path


def test_a_dead_letter_queue_that_is_consumed_beside_another_is_refused() -> None:
    settings = BridgeConfig(urls=("amqp://h",), queues={"shop": ""}, dead_letter="shop.DQ")
    with pytest.raises(ConfigError, match=r"'shop\.DQ' can't be consumed and hold what was refused"):
        settings.validate()


def test_what_ends_the_rounds_of_messages_is_consumed_by_no_bridge_whosever_it_is() -> None:
    """Two that consume each other's would send the same message round for ever: nothing comes behind that queue."""
    settings = BridgeConfig(urls=("amqp://h",), queues={"shop": "", "b.rounds": ""}, dead_letter="a")
    with pytest.raises(ConfigError, match=r"'b\.rounds' can't be consumed: .* move them back to their queue, or name"):
        settings.validate()


@pytest.mark.parametrize("mib", [0, -1, 1 << 21, True, "64"])
def test_what_messages_may_take_is_a_number_of_mebibytes(mib: object) -> None:
    settings = BridgeConfig(urls=("amqp://h",), queues={"q": ""}, prefetch_mib=mib)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"--prefetch-mib is .*; allowed is a whole number from 1 to"):
        settings.validate()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("tcp_options={'TCP_KEEPIDLE':'x'}", "tcp_options: TCP_KEEPIDLE is 'x'; write a whole number"),
        ("tcp_options={'KEEPIDLE':1}", "tcp_options: it knows no 'KEEPIDLE'; write one of TCP_USER_TIMEOUT, "),
        ("tcp_options={'TCP_KEEPIDLE':99999999}", "tcp_options: .*Invalid argument"),
        (
            "ssl_options={'ca_certs':'/no/such/file'}",
            "ssl_options: ca_certs is /no/such/file, which can't be read: No such",
        ),
        ("ssl_options={'ca':'/no/such/file'}", "ssl_options: it knows no 'ca'; write one of ca_certs, "),
        ("ssl_options={'ciphers':'ALL'}", "ssl_options: it says nobody to trust; write {'ca_certs':'FILE'}"),
        (f"ssl_options={{'ca_certs':'{__file__}'}}", f"ssl_options with {__file__}: "),
        ("heartbeat=often", "heartbeat: .*often"),
        ("heartbeat=0", "heartbeat: it is 0; write 1 to 65535 seconds, .* would not notice that RabbitMQ is gone"),
        ("heartbeat=65536", "heartbeat: it is 65536; write 1 to 65535 seconds"),
        ("stack_timeout=nan", "stack_timeout: it is nan; write seconds"),
        ("blocked_connection_timeout=inf", "blocked_connection_timeout: it is inf; write seconds"),
        ("socket_timeout=inf", "socket_timeout: it is inf; write seconds"),
        ("client_properties=[1]", "client_properties: .*must be dict"),
        ("client_properties={'capabilities':{}}", "client_properties: capabilities are the client library's own"),
        ("client_properties={'a':{1,2}}", "client_properties: it can't be sent; write texts and numbers"),
        ("client_properties={1:'a'}", "client_properties: it can't be sent; write texts and numbers"),
        (f"client_properties={{'{'a' * 256}':1}}", "client_properties: it can't be sent; write texts and numbers"),
    ],
)
def test_an_option_of_a_url_is_refused_by_its_name_before_anything_connects(option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parameters_of(f"amqps://u:s3cret@h/?{option}")


def test_options_that_can_be_used_are_used() -> None:
    parameters = parameters_of("amqp://u:p@h/?tcp_options={'TCP_KEEPIDLE':60,'TCP_USER_TIMEOUT':1000}&frame_max=8192")
    assert parameters.tcp_options == {"TCP_KEEPIDLE": 60, "TCP_USER_TIMEOUT": 1000}
    assert parameters.frame_max == 8192


def test_a_queue_that_is_named_twice_for_two_tasks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--queue names 'q' twice, for 'a' and for 'b'"):
        config("q=a", "q=b", amqp=("amqp://h",))
    assert config("q=a", "q=a", amqp=("amqp://h",)).queues == {"q": "a"}


@pytest.mark.parametrize("task", ["x" * 256, "two\nlines", "half \udce9", "\x1b[2J"])
@pytest.mark.parametrize("option", ["--queue", "--task"])
def test_a_task_that_no_call_can_name_is_refused_at_the_start(
    option: str, task: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"queues": {"q": task}} if option == "--queue" else {"queues": {"q": ""}, "tasks": {"shop.add": task}}
    with pytest.raises(ConfigError, match=f"{option} .* can't be used; the name of a task has 1 to 255 printable"):
        BridgeConfig(urls=("amqp://h",), **given).validate()
    if "\udce9" not in task:
        queue = ("--queue", f"q={task}") if option == "--queue" else ("--queue", "q", "--task", f"shop.add={task}")
        assert run(["bridge", "--amqp", "amqp://h", *queue]) == 40
        assert "printable characters" in capsys.readouterr().err


def test_the_longest_name_of_a_task_can_be_used() -> None:
    BridgeConfig(urls=("amqp://h",), queues={"q": "x" * 255}, tasks={"a": "\u00fc" * 255}).validate()


def test_more_queues_than_a_connection_has_channels_for_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"1001 queues are too many for one bridge, which consumes 1000 at most"):
        config(*(f"q{number}" for number in range(1_001)), amqp=("amqp://h",))


def test_a_queue_whose_name_leaves_no_room_for_dramatiqs_delays_has_none() -> None:
    settings = BridgeConfig(urls=("amqp://h",), queues={"q" * 253: "", "r" * 252: ""})
    assert set(queues_of(settings)) == {"q" * 253, "r" * 252, f"{'r' * 252}.DQ"}


def test_a_file_may_begin_with_a_byte_order_mark(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert config(path=file).prefetch == 7


def test_a_file_says_everything(file: Path) -> None:
    read = config(path=file)
    assert read.urls == ("amqp://u:s3cret@one/v", "amqp://u:s3cret@two/v")
    assert read.queues == {"celery": "", "plain": "tasks.add"}
    assert (read.tasks, read.prefetch, read.declare) == ({"shop.add": "tasks.add"}, 7, False)
    assert read.prefetch_mib == 64


def test_the_command_line_counts_more_than_the_file(file: Path) -> None:
    read = config("plain=tasks.echo", "more", amqp=("amqp://h, amqp://g",), path=file, prefetch=9)
    assert read.urls == ("amqp://h", "amqp://g")
    assert read.queues == {"celery": "", "plain": "tasks.echo", "more": ""}
    assert read.prefetch == 9


@pytest.mark.parametrize(
    ("amqp", "queue", "message"),
    [
        ("", "q", "no RabbitMQ is named"),
        ("http://u:s3cret@host", "q", "http://host is not a URL of RabbitMQ"),
        ("amqp://u:s3cret@", "q", "is not a URL"),
        ("amqp://h", "", "no queue is named"),
        ("amqp://h", "q=", "'q=' can't be used"),
        ("amqp://h", "=t", "'=t' can't be used"),
        ("amqp://h", "q" * 256, "is not a queue"),
        ("amqp://h", "no UTF-8 \udc95", "is not a queue"),
        ("amqp://u:s3cret@h/no UTF-8 \udc95", "q", "is not a URL"),
        ("amqp://h", "paceline.dead", "can't be consumed"),
        ("amqp://h", "paceline.dead.rounds", "can't be consumed"),
        ("amqp://h", "two\nlines", r"'two\\nlines' is not a queue; a name with a line break"),
    ],
)
def test_what_can_not_be_used_is_named_without_a_password(amqp: str, queue: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        config(*([queue] if queue else []), amqp=(amqp,))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "is not a TOML file"),
        ("queue = 1", "unknown key 'queue'"),
        ("prefetch = 'x'", "prefetch can't be a str"),
        ("[queues]\nq = 1", "names of tasks"),
        ("amqp = [1]", "a list of URLs"),
        ("[tasks]\nx = ''", "a task 'x' can't stand for ''; write NAME=TASK"),
        ("k" * 1000 + " = 1", r"unknown key .{,100}; allowed"),
        ("# " + "x" * (1 << 20), "has more than 1048576 bytes"),
        ("a = " + "[" * 100_000, "brackets are nested"),
    ],
)
def test_a_file_that_can_not_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        config("q", amqp=("amqp://h",), path=path)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "bridge.toml"
    os.mkfifo(pipe)
    for path, message in ((pipe, "a named pipe and no file"), (tmp_path, "a directory and no file")):
        with pytest.raises(ConfigError, match=message):
            config("q", amqp=("amqp://h",), path=path)


@pytest.mark.parametrize(
    "text", ['["amqp://u:s3cret@h"]', '["amqp://u:s3cret@h"]\n["amqp://u:s3cret@h"]', "amqp://u:s3cret@h"]
)
def test_a_url_in_the_wrong_place_of_a_file_is_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"unknown key|is not a TOML file") as raised:
        config("q", amqp=("amqp://h",), path=path)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["amqp://u:s3 cret", "amqp://us3cret\0h", "amqp://u%3As3cret%40h/", "amqp://-s3cret/"])
def test_what_stands_for_a_host_and_is_none_is_not_shown(url: str) -> None:
    assert shown(url) == ""


URL = "amqp://u:s3cret@h"


@pytest.mark.parametrize(
    "setting",
    [
        {"metrics": URL},
        {"metrics": "127.0.0.1:=/u:s3cret@h080"},
        {"metrics": f"{URL}:{'9' * 80}"},
        {"queues": {URL + "\n": ""}},
        {"queues": {URL + ".rounds": ""}},
        {"queues": {URL: ""}, "dead_letter": URL},
        {"dead_letter": URL + "x" * 250},
        {"queues": {"q": URL + "\n"}},
        {"tasks": {URL: ""}},
    ],
)
def test_a_url_in_the_place_of_another_setting_is_not_shown(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not shown") as raised:
        BridgeConfig(**{"urls": ("amqp://h",), "queues": {"q": ""}, **setting}).validate()
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("texts", [(f"={URL}",), (f"q={URL}", "q=other"), (f"{URL}=a", f"{URL}=b")])
def test_nor_in_that_of_a_queue(texts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="not shown") as raised:
        pairs_of("--queue", texts, lone=True)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("password", ["p@ss", "pa/ss", "12/3", "pa?ss", "pa#ss", "pa,ss"])
def test_a_url_is_shown_without_what_is_secret(password: str) -> None:
    url = f"amqps://user:{password}@host:1/v?ssl_options={{}}"
    assert shown(url) == "amqps://host:1/v"


@pytest.mark.parametrize("password", ["pa/ss", "12/3", "pa?ss", "pa#ss"])
def test_a_password_that_is_no_part_of_a_url_is_not_shown_either(password: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL of RabbitMQ") as raised:
        config("q", amqp=(f"amqp://user:{password}@host/v",))
    assert password not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "shop:s3cret@rabbit:5672/v",
        "amqp:/shop:s3cret@rabbit/v",
        "amqp:shop:s3cret@rabbit",
        "//shop:s3cret@rabbit/v",
        "amqp//shop:s3cret@rabbit/v",
        "amqp://shop:s3cret rabbit/v",
        "amqp://shop:s3cret%40rabbit/v",
        "amqp://shop:s3cret@[rabbit/v",
        "amqp://shop:s3cret@rabbit:port/v",
        "amqp://shopamqp://shop:s3cret",
        "s3cret",
    ],
)
def test_of_what_is_no_url_nothing_is_shown(url: str) -> None:
    assert "s3cret" not in shown(url)
    with pytest.raises(ConfigError, match="is not a URL of RabbitMQ; write amqp://user:password@host") as raised:
        config("q", amqp=(url,))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "vhost"),
    [
        ("amqp://h", "/"),
        ("amqp://h/", "/"),
        ("amqp://u:s3cret@h//", "/"),
        ("amqp://h:5672/%2F", "/"),
        ("amqp://h/%2f", "/"),
        ("amqps://u:s3cret@h//?heartbeat=7", "/"),
        ("amqp://h/shop", "shop"),
        ("amqp://h/a%2Fb", "a/b"),
        ("amqp://h/%2Fa", "/a"),
        ("amqp://h/a%20b%25", "a b%"),
    ],
)
def test_the_vhost_is_the_path_as_celery_and_rabbitmq_write_it(url: str, vhost: str) -> None:
    config("q", amqp=(url,))
    assert vhost_of(url) == vhost
    assert parameters_of(url).virtual_host == vhost
    assert parameters_of(url).host == "h"


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("amqp://h//", "guest", "guest"),
        ("amqp://guest@h//", "guest", "guest"),
        ("amqp://shop@[::1]:5672/v", "shop", "guest"),
        ("amqp://shop:@h", "shop", ""),
        ("amqp://shop:s3%40c%2Fret@h//", "shop", "s3@c/ret"),
        ("amqp://sh%3Aop@h", "sh:op", "guest"),
    ],
)
def test_a_user_without_a_password_has_the_one_of_rabbitmqs_clients(url: str, user: str, password: str) -> None:
    config("q", amqp=(url,))
    credentials = parameters_of(url).credentials
    assert (credentials.username, credentials.password) == (user, password)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("amqp://u:s3cret@h/a/b", "amqp://h/a/b has a / in the name of its vhost, .* write amqp://h/a%2Fb$"),
        ("amqp://u:s3cret@h/a%2Fb/c?heartbeat=7", "write amqp://h/a%2Fb%2Fc$"),
        ("amqp://u:s3cret@h//a", "write amqp://h/%2Fa$"),
        ("amqp://u:s3cret@h/a/", "write amqp://h/a$"),
        ("pyamqp://u:s3cret@h//", "pyamqp://h// is not a URL of RabbitMQ; write amqp:// in place of pyamqp://"),
        ("librabbitmqs://u:s3cret@h//", "write amqps:// in place of librabbitmqs://"),
        ("amqp://u:s3cret@h//;amqp://u:s3cret@g//", "write a space or a comma between several, and not ;"),
    ],
)
def test_what_celery_or_a_habit_writes_in_another_way_is_refused_with_what_to_write(url: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as raised:
        config("q", amqp=(url,))
    assert "s3cret" not in str(raised.value)


def test_options_of_tls_may_have_commas() -> None:
    first = "amqps://h?ssl_options={'ca_certs':'a','certfile':'b'}"
    assert config("q", amqp=(f"{first} amqp://g,amqp://i",)).urls == (first, "amqp://g", "amqp://i")


def test_without_pika_the_command_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(["bridge", "--amqp", "amqp://h", "--queue", "q"]) == 44
    assert "pip install '.[rabbitmq]' in a copy of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:s3cret@h/?nothing=1",
        "amqp://u:s3cret@h/?heartbeat=often",
        "amqps://u:s3cret@h/?ssl_options={'ca_certs'",
        "amqps://u:s3cret@h/?ssl_options={'ca_certs':'/no/such/file'}",
        "amqp://u:s3cret@h/?tcp_options={'TCP_KEEPIDLE':'s3cret'",
        "amqp://u:s3cret@h/?tcp_options=7",
    ],
)
def test_an_option_that_rabbitmq_s_client_does_not_take_is_an_error_of_the_setting(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^amqps?://h/ has an option that can't be used: .+") as raised:
        parameters_of(url)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("role", [KeyRole.CLIENT, KeyRole.NODE])
def test_a_bridge_looks_for_the_cluster_of_the_file_of_a_client_or_of_the_nodes(
    role: KeyRole, tmp_path: Path, bridges: list[BridgeProcess]
) -> None:
    node, rabbitmq = (f"{HOST}:{port}" for port in free_ports(2))  # nobody listens there
    path = file_of(role, tmp_path, node)
    options = ("--cluster", str(path), "--queue", "q", "--connect-timeout", "0.2")
    bridge = BridgeProcess(f"amqp://guest:guest@{rabbitmq}", (), *options)
    bridges.append(bridge)
    bridge.wait_for(f"no paceline node answered within 0.2 s ({node})")
    assert bridge.terminate() == 0


def test_the_file_of_an_observer_is_refused_at_the_start_with_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(KeyRole.OBSERVER, tmp_path)
    command = ["bridge", "--amqp", "amqp://h", "--queue", "q"]
    assert run([*command, "--cluster", str(path)]) == 40
    printed = capsys.readouterr().err
    assert f"{path} is the file of the observer 'shop', which may only ask" in printed
    assert "`paceline key client NAME`" in printed
    monkeypatch.setenv("PACELINE_CLUSTER", str(path))
    assert run(command) == 40
    assert capsys.readouterr().err.endswith("(from the environment: PACELINE_CLUSTER)\n")


def test_a_bridge_that_begins_anew_goes_by_what_its_cluster_file_says_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(KeyRole.NODE, tmp_path)
    made: list[Bridge] = []
    monkeypatch.setattr(cli, "_run", made.append)
    assert run(["bridge", "--amqp", "amqp://h", "--queue", "q", "--cluster", str(path)]) == 0
    [bridge] = made
    now = drop_previous(use_next(make_next_known(ClusterFile.load(path))))
    path.write_text(now.dumps())
    relay = bridge._make_relay(lambda: None)
    assert relay._client._driver._connections._keys.credentials() == now.credentials
    relay.close()
    bridge._watch._relay.close()
