# SPDX-License-Identifier: MIT
"""Whatever is asked of a running platform, it answers and runs on."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

import vre
from tests.vre.platforms import assert_accounts
from vre.errors import PlatformError
from vre.platform.control_socket import ControlServer, ask
from vre.platform.domu_commands import VERBS as DOMU_VERBS
from vre.platform.domu_commands import answer
from vre.platform.verbs import RequestError, parse, understand

CONFIG = """FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> rt :: StaticIPLookup(198.19.0.0/16 0, 0/0 1);
rt[0] -> fix :: FixIPSrc(10.0.0.1) -> q :: Queue(64) -> ToDevice(eth1); rt[1] -> Discard;
src :: InfiniteSource(LIMIT 10) -> Discard;"""


@pytest.fixture(scope="module")
def box():
    with vre.Platform(cores=1) as box:
        box.nic("eth0", link=vre.Generator(rate=50_000))
        box.nic("eth1")
        box.router("red", CONFIG)
        box.router("blue", CONFIG)
        box.start()
        yield box
        box.pause()
        box.halt()
        assert_accounts(box)
        assert not box.boundary.unexpected, "no request was ever an exception that nobody expected"


def said(box, line):
    return json.loads(box.parts.control.said(line if isinstance(line, bytes) else json.dumps(line).encode()))


NO_REQUESTS = [
    b"", b"{", b"\xff\xfe", b"\0", b"null", b"[]", b"5", b'"do"', b"{}", b'{"do":5}', b'{"do":null}', b'{"do":["read"]}',
    b'{"do":"raed"}', b'{"do":"read"}', b'{"do":"read","what":5}', b'{"do":"read","what":null}', b'{"do":"read","what":[]}',
    b'{"do":"write","what":"red.entitlement","value":3}', b'{"do":"view","what":"passwords"}', b'{"do":"view","what":[]}',
    b'{"do":"move","path":"red/FromDevice@1","core":"0"}', b'{"do":"move","path":"red/FromDevice@1","core":1e400}',
    b'{"do":"move","path":"red/FromDevice@1","core":true}', b'{"do":"move","path":"red/FromDevice@1","core":-1}',
    b'{"do":"move","path":"red/FromDevice@1","core":' + b"9" * 5000 + b"}", b'{"do":"move","path":"red/x","core":NaN}',
    b"[" * 100_000, b'{"do":' * 50_000, b'{"do":"read","what":"\\ud800"}', b'{"do":"read","what":"a\\u0000b"}',
    b'{"do":"remove","router":"red/rt"}', b'{"do":"replace","router":"red/rt.table","config":"Idle;","file":"x"}',
    b'{"do":"remove","router":"red","force":true}', b'{"do":"read","what":"' + b"x" * 5000 + b'"}',
    b'{"do":"add","file":"/dev/null","router":"green"}', b'{"do":"add","file":"/","router":"green"}',
    b'{"do":"add","file":"nowhere.toml","router":"green"}', b'{"do":"replace","router":"red","config":"","file":""}',
    b'{"do":"replace","router":"red","config":"((((","file":"x"}',
]  # fmt: skip


@pytest.mark.parametrize("line", NO_REQUESTS, ids=lambda line: repr(line[:40]))
def test_what_is_no_request_is_said_to_be_none(box, line):
    answer = said(box, line)
    assert list(answer) == ["error"] and answer["error"] and "Traceback" not in answer["error"]
    assert said(box, {"do": "read", "what": "red/rt.class"}) == {"ok": True, "value": "StaticIPLookup"}


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (
            {"do": "raed", "what": "x"},
            "'do' must be one of read, write, add, remove, replace, move, link, view; did you mean read?",
        ),
        ({"do": "read"}, "request 'read' needs 'what'; its fields are what"),
        ({"do": "read", "what": 5}, "request 'read': 'what' must be a string of at most 1000 characters"),
        ({"do": "read", "what": "x", "waht": 1}, "request 'read' has no field 'waht'; did you mean what?"),
        (
            {"do": "move", "path": "red/x", "core": 1.5},
            "request 'move': 'core' must be an integer from 0 to 256, not 1.5",
        ),
    ],
)
def test_what_is_wrong_is_said(box, request_, error):
    assert said(box, request_) == {"error": error}


def test_every_request_is_described_and_only_so_understood(box):
    odd = {"core": 0, "direction": "in", "clear": True, "values": {"delay": "1ms"}}
    for verbs in (box.parts.control.verbs, DOMU_VERBS):
        for name, verb in verbs.items():
            values = {field: odd.get(field, "events") for field in verb.fields}
            assert understand(verbs, {"do": name, **values}) == (verb, values)
            for field in verb.fields:
                with pytest.raises(RequestError, match=f"needs '{field}'"):
                    understand(verbs, {"do": name, **{f: v for f, v in values.items() if f != field}})
                with pytest.raises(RequestError, match=f"'{field}' must be"):
                    understand(verbs, {"do": name, **values, field: None})
    with pytest.raises(RequestError, match="nested too deeply"):
        parse(b"[" * 100_000)


ROUTES = [
    '"',
    "'",
    "",
    " ",
    "\\<",
    "10.0.0.0/8",
    "10.0.0.0/8 0 0 0",
    "/",
    "1/33 0",
    "::/0 0",
    "１0.0.0.0/8 0",
    "10/８ 0",
    "0/0 ²",
]


@pytest.mark.parametrize("text", ROUTES)
@pytest.mark.parametrize("verb", ["add_route", "remove_route"])
def test_a_domu_s_route_that_is_none_is_an_answer(box, verb, text):
    said = answer(box.boundary, box.handle("red"), {"do": verb, "table": "rt", "route": text})
    assert list(said) == ["error"] and said["error"].isprintable()


def test_what_a_domu_reads_fits_a_message(box):
    red = box.handle("red")
    for i in range(200):
        red.write("rt.set", f"10.0.{i}.0/24 1")
    said = answer(box.boundary, red, {"do": "read", "handler": "rt.table"})
    assert said["value"] and len(json.dumps(said)) <= 4096


def test_python_may_write_numbers_and_gets_errors_of_the_package(box):
    box.write("red/src.limit", 5)
    box.write("red.entitlement", 1)
    assert box.read("red/src.limit") == "5" and box.handle("red").read("src.limit") == "5"
    for what in (5, None, "", "red", "red/", "/", "nobody/x.y"):
        for call in (box.read, lambda what: box.write(what, 1)):
            with pytest.raises(vre.VreError):
                call(what)
    for value in (None, [], 1 << 70, float("nan")):
        with pytest.raises(vre.HandlerError):
            box.handle("red").write("src.limit", value)


MESSAGES = [
    {}, {"do": None}, {"do": "read"}, {"do": "read", "handler": 1}, {"do": "read", "handler": ""}, {"do": "read", "handler": "."},
    {"do": "read", "handler": "fix."}, {"do": "set_address", "element": "rt", "address": "10.0.0.1"},
    {"do": "set_address", "element": "nobody", "address": "10.0.0.1"}, {"do": "set_address", "element": "fix", "address": "１.1.1.1"},
    {"do": "set_address", "element": "fix", "address": "256.1.1.1"}, {"do": "counters", "of": "blue"}, {"do": "x" * 4000},
]  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES, ids=str)
def test_a_domu_s_message_that_is_none_is_an_answer(box, message):
    said = answer(box.boundary, box.handle("red"), message)
    assert list(said) == ["error"] and len(said["error"]) <= 1003


@pytest.mark.parametrize(
    "value",
    [
        "99999999999999999999",
        str(2**63),
        str(2**62 + 1),
        str(-(2**63) - 1),
        "nan",
        "inf",
        "1e3",
        "0x",
        "1_000",
        "１２",
        "",
        "-",
        "9" * 5000,
        "0x" + "f" * 5000,
    ],
    ids=lambda value: value[:22],
)
def test_numbers_that_do_not_fit_their_field_are_refused(box, value):
    before = box.read("red/src.limit")
    answer = said(box, {"do": "write", "what": "red/src.limit", "value": value})
    assert list(answer) == ["error"] and len(answer["error"]) < 300
    assert box.read("red/src.limit") == before


@pytest.mark.parametrize(
    "value",
    ["1e308", "1e-308", "0.0009", "1000001", "nan", "inf", "-1", "0", "１", "1_0", "101%", "0%", "nan%", "%", ""],
)
def test_entitlements_have_a_range(box, value):
    answer = said(box, {"do": "write", "what": "red.entitlement", "value": value})
    assert list(answer) == ["error"] and "%" in answer["error"]
    assert box.read("red.entitlement") == "1"


def test_ten_clients_that_do_not_read_cost_nobody_anything(box):
    import socket

    from vre.platform.connections import reachable

    path = box.parts.runtime.publication.path.parent / "control"
    deaf = []
    for _ in range(10):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with reachable(path) as address:
            client.connect(address)
        client.setblocking(False)
        try:
            while client.send(b'{"do":"read","what":"red/rt.table"}\n' * 100):
                box.parts.control.serve()
        except BlockingIOError:
            deaf.append(client)
    served = box.handle("blue").stats().forwarded
    box.tend(0.1)
    assert box.handle("blue").stats().forwarded > served
    assert isinstance(box.parts.control, ControlServer) and len(box.parts.control._clients) == 10
    for client in deaf:
        client.close()


def test_ask_says_when_nobody_answers(tmp_path):
    with pytest.raises(PlatformError, match="does not answer"):
        ask(tmp_path / "control", do="read", what="x")


@pytest.mark.parametrize("waiting", [0, 2], ids=["asked", "not even asked"])
def test_ask_says_when_a_platform_does_not_answer_in_time(tmp_path, waiting):
    with socket.socket(socket.AF_UNIX) as stopped, contextlib.ExitStack() as clients:
        stopped.bind(str(tmp_path / "control"))
        stopped.listen(0)
        for _ in range(waiting):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(tmp_path / "control"))
        with pytest.raises(PlatformError, match=r"has not answered within 0\.05 s"):
            ask(tmp_path / "control", 0.05, do="read", what="red.entitlement")
