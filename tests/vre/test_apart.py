# SPDX-License-Identifier: MIT
"""What takes long or never ends is done elsewhere: the platform answers others meanwhile, and gives up in the end."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

import vre
import vre.supervision.offload
from tests.vre.platforms import assert_accounts, needs_jail, platform
from vre.config.reader import from_text
from vre.errors import ConfigError, PlatformError
from vre.platform.control_socket import ask
from vre.supervision.offload import apart


def fail(error):
    raise error


def test_results_and_mistakes_come_back_as_they_are(tmp_path):
    text, waits = "Idle -> c :: Counter -> Discard;", []
    assert apart("", waits.append, from_text, text, "x.click") == from_text(text, "x.click") and waits
    with pytest.raises(ConfigError) as here:
        from_text("Idle -> Discrad;", "x.click")
    with pytest.raises(ConfigError) as there:
        apart("", time.sleep, from_text, "Idle -> Discrad;", "x.click")
    assert here.value.problems == there.value.problems
    for error in (ValueError("no"), PlatformError("no")):
        with pytest.raises(type(error), match=r"^no$"):
            apart("", time.sleep, fail, error)
    with pytest.raises(RuntimeError, match="it failed: KeyError: 'x'"):
        apart("it", time.sleep, fail, KeyError("x"))


@pytest.mark.parametrize(
    "what", [lambda: bytearray(1 << 40), lambda: os.kill(os.getpid(), signal.SIGSEGV)], ids=["memory", "crash"]
)
def test_what_takes_too_much_or_ends_is_said(what):
    with pytest.raises(PlatformError, match="reading it took too much time or memory"):
        apart("reading it", time.sleep, what)


def test_what_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(vre.supervision.offload, "_WAIT_S", 0.2)
    with pytest.raises(PlatformError, match=r"given up after 0\.2 s"):
        apart("", time.sleep, time.sleep, 1000)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@needs_jail
def test_others_are_answered_while_a_domu_takes_its_time_to_start(tmp_path):
    (tmp_path / "x.py").write_text("import time\ntime.sleep(1000)\nclass X:\n    def push(self, packet): pass\n")
    (tmp_path / "lab.toml").write_text(
        "[nics.eth0]\n[nics.eth1]\n[routers.green]\nconfig = 'FromDevice(eth0) -> Untrusted(x.py:X) -> ToDevice(eth1);'\n"
        "domu = { start = '2s' }\nports = { eth0 = { mac = '02:00:00:00:00:09' }, eth1 = { mac = '02:00:00:00:00:0a' } }\n"
    )
    answers, began = [], threading.Event()

    def asks(name, wait=False, **request):
        if wait:
            began.wait(20)
        try:
            answers.append((name, ask(path, **request)))
        except PlatformError as error:
            answers.append((name, str(error)))

    with platform(rate=2000) as box:
        red = box.router("red", "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);")
        box.router("blue", "FromDevice(eth0) -> Discard;", ports={"eth0": {"mac": "02:00:00:00:00:0b"}})
        box.start()
        path = box.parts.runtime.publication.path.parent / "control"
        launch = box.parts.domus.launch
        box.parts.domus.launch = lambda *args: (began.set(), launch(*args))[1]
        requests = [
            ("add", False, {"do": "add", "file": str(tmp_path / "lab.toml"), "router": "green"}),
            ("read", True, {"do": "read", "what": "red/c.count"}),
            ("write", True, {"do": "write", "what": "red/c.reset_counts", "value": ""}),
            ("remove", True, {"do": "remove", "router": "red"}),
            ("weigh", True, {"do": "write", "what": "red.entitlement", "value": "2"}),
        ]
        threads = [threading.Thread(target=asks, args=(n, w), kwargs=r, daemon=True) for n, w, r in requests]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 60
        while len(answers) < len(requests) and time.monotonic() < end:
            box.tend(0.01)
        # The one that was asked first is answered last.
        assert [name for name, _ in answers][-1] == "add" and len(answers) == len(requests), answers
        said = dict(answers)
        assert "was not ready after 2 s" in said["add"]
        assert said["remove"] == said["weigh"] == "a change is in progress: ask again when it is done"
        assert said["read"]["ok"] and said["write"]["ok"]
        assert list(box.model.routers) == ["red", "blue"] and not box.parts.commands.changing
        box.write("red.entitlement", "2")
        box.pause()
        box.halt()
        assert_accounts(box)
        assert red.stats().forwarded > 0


def test_logical_time_stands_still_meanwhile():
    with vre.Platform(cores=1, name=f"apart{os.getpid()}", clock="virtual", machine="dell2950") as box:
        box.nic("eth0", link=vre.Generator(rate=1000))
        box.nic("eth1")
        box.router("red", "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);")
        box.start()
        box.tend(0.01)
        before = box.now()
        apart("", box.parts.commands._passing, time.sleep, 0.05)
        assert box.now() == before
