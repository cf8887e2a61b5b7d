# SPDX-License-Identifier: MIT
"""Who does not read holds up nobody: full pipes, readers that stopped or have gone, and signals to whole groups."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import vre
from shm.run_directory import sweep
from tests.captures import read_capture
from tests.vre.platforms import assert_accounts
from vre.errors import PlatformError

LAB = """
[nics.eth0]
link = { rate = "20kpps" }
[nics.eth1]
[routers.red]
config = "FromDevice(eth0) -> Print(\\"\\u001b[2J\\", -1) -> ToDevice(eth1);"
ports = { eth0 = {}, eth1 = {} }
[routers.blue]
config = "FromDevice(eth0) -> ToDevice(eth1);"
ports = { eth0 = {}, eth1 = {} }
"""


def full_pipe():
    """Return both ends of a pipe without room."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


@pytest.fixture
def start(tmp_path):
    """Start `vre run`, with streams that somebody does not read, in a process group of its own."""
    started = []

    def run(name, stdout, stderr, text=LAB):
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        command = [sys.executable, "-m", "vre", "run", str(file), "--json"]
        started.append(subprocess.Popen(command, stdout=stdout, stderr=stderr, process_group=0))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()
    sweep()


def ask(name, *arguments):
    """Run a command on the platform until it answers."""
    command = [sys.executable, "-m", "vre", *arguments, "--name", name, "--json"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return json.loads(done.stdout)
        time.sleep(0.1)


def test_a_full_pipe_holds_up_nobody_and_a_signal_to_the_group_loses_no_account(start):
    reader, writer = full_pipe()
    process = start("deaf", subprocess.PIPE, writer)
    while ask("deaf", "show", "routers")["red"]["forwarded"] < 3_000:
        pass
    # As `timeout` does it: the process, then its group.
    process.send_signal(signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    data = json.loads(out)
    for one in data["routers"].values():
        assert one["injected"] == one["forwarded"] + sum(one["dropped"].values()) + one["in_flight"]
    assert data["routers"]["blue"]["forwarded"] >= data["routers"]["red"]["forwarded"]
    # Nobody has read a line: each that was printed is counted.
    assert data["lost_lines"]["red"] >= data["routers"]["red"]["forwarded"] >= 3_000
    os.close(reader)
    os.close(writer)


def test_a_signal_ends_a_run_whose_account_nobody_reads(start):
    reader, writer = full_pipe()
    gone, nobody = os.pipe()
    os.close(gone)
    process = start("unread", writer, nobody)
    ask("unread", "show", "events")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    for fd in (reader, writer, nobody):
        os.close(fd)


def test_what_a_platform_ended_with_stays_readable_and_the_rest_is_refused():
    box = vre.Platform(cores=1)
    with pytest.raises(PlatformError, match="has not been started"):
        box.reader.routers()
    with box:
        box.nic("eth0", link=vre.Generator(rate=50_000))
        box.nic("eth1")
        red = box.router("red", "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);")
        with pytest.raises(PlatformError, match="has not been started"):
            red.stats()
        box.run(seconds=0.2)
        reader = box.reader
        box.halt()
        last, sent, cores = red.stats(), red.sent(), reader.cores()
    assert last.forwarded == sent > 1000
    assert red.stats() == last and red.sent() == sent and red.share() == last.share
    assert reader.cores() == cores and reader.unclaimed() == 0 and reader.drained()
    assert_accounts(box)
    assert box.read("red.entitlement") == "1"
    for refused in (
        lambda: red.read("c.count"),
        lambda: red.write("c.reset", ""),
        lambda: box.read("red/c.count"),
        lambda: box.write("red.entitlement", "2"),
        lambda: box.remove("red"),
        lambda: box.move("red/FromDevice@1", 0),
        lambda: box.replace("red", "FromDevice(eth0) -> Discard;"),
        lambda: box.release("red"),
        lambda: box.rest("red", True),
        lambda: box.set_rate("red", 5),
        lambda: box.pause(),
        lambda: box.tend(0.1),
        lambda: box.finished(),
        lambda: reader.decisions(0, 5),
        lambda: reader.sent("blue"),
        lambda: box.parts.runtime.builder.memory_map(),
        lambda: box.parts.domus.rows(),
        lambda: box.parts.runtime.manifest.routers,
    ):
        with pytest.raises(PlatformError):
            refused()


CAPTURES = """
[nics.eth0]
link = {{ rate = "150kpps", size = 512 }}
[nics.eth1]
link = {{ capture = "{folder}/fifo" }}
[nics.eth2]
link = {{ capture = "/dev/full" }}
[nics.eth3]
link = {{ capture = "{folder}/out.pcapng" }}
[routers.red]
config = "FromDevice(eth0) -> ToDevice(eth1);"
[routers.green]
config = "FromDevice(eth0) -> ToDevice(eth2);"
[routers.blue]
config = "FromDevice(eth0) -> ToDevice(eth3);"
"""


def test_files_that_take_nothing_cost_frames_of_their_own_captures_and_nothing_else(start, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    # It reads nothing.
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    process = start("taps", subprocess.PIPE, subprocess.DEVNULL, CAPTURES.format(folder=tmp_path))
    while not next(row for row in ask("taps", "show", "ports") if row["ring"].endswith("fifo"))["full"]:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    os.close(reader)
    data = json.loads(out)
    for one in data["routers"].values():
        assert one["injected"] == one["forwarded"] + sum(one["dropped"].values()) + one["in_flight"]
        assert one["forwarded"] > 10_000
    fifo, full, file = data["captures"]
    for name, capture in zip(("red", "green", "blue"), (fifo, full, file), strict=True):
        assert capture["sent"] == capture["written"] + capture["lost"] == data["routers"][name]["forwarded"]
    assert fifo["lost"] > 0 and full["written"] == 0
    assert any("No space left on device" in event for event in data["events"])
    assert len(list(read_capture(tmp_path / "out.pcapng"))) == file["written"]
