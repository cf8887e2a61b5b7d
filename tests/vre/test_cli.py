# SPDX-License-Identifier: MIT
"""The command line as users meet it: in processes of its own, with right and wrong input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shm.run_directory import RunDirectory, sweep
from vre.cli.top import _forget

DEMO = Path(__file__).resolve().parents[2] / "vre" / "demo" / "demo.toml"

LAB = """
[platform]
cores = 1
[nics.eth0]
link = {{ rate = 200000, count = {count}, size = 64 }}
[nics.eth1]
link = {{ capture = "out.pcapng" }}
[routers.red]
entitlement = 2
config = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> DecIPTTL -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2) -> Queue -> ToDevice(eth1);"
[routers.blue]
config = "FromDevice(eth0) -> Counter -> ToDevice(eth1);"
"""


def vre(*arguments, **options):
    """Run the command; return the finished process."""
    command = [sys.executable, "-m", "vre", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL, **options)


@pytest.fixture
def lab(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(LAB.format(count=20000))
    return file


def test_check_says_yes_and_imports_neither_numba_nor_numpy(lab):
    code = (
        "import sys; from vre.cli.main import main\n"
        "try: main(['check', sys.argv[1]])\n"
        "finally: print(sorted({'numba', 'numpy', 'llvmlite'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(lab)], capture_output=True, text=True)
    assert "no errors. 2 port(s), 2 router(s): red (7 elements), blue (3 elements)" in done.stdout
    assert done.stdout.endswith("[]\n")
    code = vre("check", lab, "--code").stdout
    assert code.startswith("# Router red\n#\n# e0   FromDevice@1 :: FromDevice") and "\n# Router blue\n" in code
    compile(code, "code", "exec")


@pytest.mark.parametrize("command", [["show", "routers"], ["read", "red.entitlement"], ["top"]])
def test_a_platform_that_is_still_starting_says_so(command):
    directory = RunDirectory(f"starting{os.getpid()}")
    directory.acquire()
    try:
        done = vre(*command, "--name", directory.name)
        assert done.returncode == 2 and "is still starting" in done.stderr
    finally:
        directory.release()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["chek"], "did you mean check?"),
        (["check", "nowhere.toml"], "cannot read nowhere.toml"),
        (["run", "nowhere.toml"], "cannot read nowhere.toml"),
        (["run", DEMO, "--for", "soon"], "'soon' is not a time"),
        (["run", DEMO, "--for", "0s"], "a time must be positive"),
        (["elements", "DecIPTL"], "did you mean DecIPTTL"),
        (["top", "--name", "nobody"], "no platform named 'nobody' is running"),
        (["show", "rooters"], "'rooters' is not one of"),
    ],
)
def test_mistakes_are_messages_with_status_2(arguments, message):
    done = vre(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_file_is_reported_whole_and_nothing_starts(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(LAB.format(count=0).replace("DecIPTTL", "DecIPTL").replace("Counter", "Paint(999)"))
    for command in ("check", "run", "plan"):
        done = vre(command, file)
        assert done.returncode == 2
        assert "3 errors; nothing was started" in done.stderr
        assert "compil" not in done.stderr


def test_plan_and_elements_and_doctor(lab):
    assert "red: FromDevice@1, ToDevice@7 (weight 2, 66.7% of the core)" in vre("plan", lab).stdout
    data = json.loads(vre("plan", lab, "--json").stdout)
    assert {p["router"] for p in data["paths"]} == {"red", "blue"}
    page = vre("elements", "DecIPTTL").stdout
    assert page.startswith("DecIPTTL  (1/1-2 ports") and "ttl_expired" in page
    assert "RadixIPLookup" in json.loads(vre("elements", "--json").stdout)
    states = {f["what"]: f["state"] for f in json.loads(vre("doctor", "--json").stdout)}
    assert states["shared memory"] == "ok"


def test_a_finite_run_ends_by_itself_and_every_packet_is_accounted_for(lab):
    done = vre("run", lab, "--json")
    assert done.returncode == 0, done.stderr
    routers = json.loads(done.stdout)["routers"]
    for name in ("red", "blue"):
        one = routers[name]
        assert one["injected"] == 10000
        assert one["injected"] == one["forwarded"] + sum(one["dropped"].values()) + one["in_flight"]
        assert {"entitled", "share", "cycles_per_packet"} <= set(one)
    assert set(routers["red"]["latency_us"]) == {"mean", "p50", "p99", "p99_9", "max"}
    from tests.captures import read_capture

    frames = read_capture(lab.parent / "out.pcapng")
    assert len(frames) == routers["red"]["forwarded"] + routers["blue"]["forwarded"]
    again = vre("run", lab)
    assert again.returncode == 2 and "out.pcapng exists" in again.stderr
    table = vre("run", lab, "--force")
    assert table.stdout.splitlines()[0].split()[:5] == ["router", "entitled", "share", "error", "forwarded"]
    assert "20,000 injected =" in table.stdout


#: The zygote, a core and the wire, a standby of each, the writer of a capture.
PROCESSES = 6


def wait_for_platform(process, name):
    end = time.monotonic() + 100
    while time.monotonic() < end and process.poll() is None:
        if RunDirectory(name).alive() and len(processes_of(process.pid)) == PROCESSES:
            cores = vre("show", "cores", "--name", name, "--json")
            if cores.returncode == 0 and all(core["slices"] for core in json.loads(cores.stdout)):
                return
        time.sleep(0.1)
    raise AssertionError("the platform did not start")


@pytest.fixture
def endless(tmp_path):
    file = tmp_path / "endless.toml"
    file.write_text(LAB.format(count=1 << 60))
    started = []

    def start():
        process = subprocess.Popen(
            [sys.executable, "-m", "vre", "run", str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        wait_for_platform(process, "endless")
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    sweep()


def processes_of(pid):
    import psutil

    return [p.pid for p in psutil.Process(pid).children(recursive=True)]


def gone(pids):
    """Return whether processes end, however long a busy host takes to end them."""
    import psutil

    end = time.monotonic() + 30
    while time.monotonic() < end:
        left = [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]
        if not left:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_run_with_its_table_and_nothing_left(endless, number, status):
    process = endless()
    children = processes_of(process.pid)
    assert len(children) == PROCESSES
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert "injected =" in out and "Traceback" not in err
    assert gone(children)
    assert not list(Path("/dev/shm").glob("vre.*.endless.*"))


def test_an_interrupt_while_compiling_leaves_no_process(lab, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "vre", "run", str(lab)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"VRE_CACHE": str(tmp_path / "cache")},
    )
    end = time.monotonic() + 60
    while len(processes_of(process.pid)) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    children = processes_of(process.pid)
    assert len(children) >= 3  # the zygote and what it has forked to compile
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "Traceback" not in err
    assert gone(children)


def test_a_killed_platform_takes_its_processes_along_and_the_next_command_its_memory(endless):
    process = endless()
    children = processes_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(children)
    assert list(Path("/dev/shm").glob("vre.*.endless.*"))
    vre("doctor")
    assert not list(Path("/dev/shm").glob("vre.*.endless.*"))


def on_terminal(*arguments):
    """Run a command whose output is a terminal; return what it wrote there."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "vre", *arguments], stdout=theirs, env=os.environ | {"TERM": "xterm"}
    )
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while some := os.read(ours, 65536):
            written += some
    os.close(ours)
    assert process.wait() == 0
    return written.decode()


def test_a_busy_run_directory_is_refused_and_views_work_meanwhile(endless, tmp_path):
    endless()
    done = vre("run", tmp_path / "endless.toml")
    assert done.returncode == 2 and "a platform named 'endless' is running" in done.stderr
    for view in ("routers", "paths", "cores", "ports", "memory"):
        done = vre("show", view, "--json")
        assert done.returncode == 0 and json.loads(done.stdout), done.stderr
        assert vre("show", view).stdout
    code = json.loads(vre("show", "code", "red", "--json").stdout)["code"]
    assert vre("show", "code", "red").stdout == code
    assert code == json.loads(vre("check", tmp_path / "endless.toml", "--code", "--json").stdout)["code"]["red"]
    for wrong, said in (
        (["code"], "vre show code ROUTER"),
        (["code", "rad"], "did you mean red"),
        (["cores", "red"], "leave out"),
    ):
        done = vre("show", *wrong)
        assert done.returncode == 2 and said in done.stderr
    looks = [json.loads(line) for line in vre("top", "--count", 2, "--every", 0.2, "--json").stdout.splitlines()]
    assert [row["router"] for row in looks[1]] == ["red", "blue"]
    assert looks[1][0]["pps"] > 0
    shown = on_terminal("top", "--count", "2", "--every", "0.2")
    _, _, second = shown.partition("\x1b[1A")  # where the first look was
    assert shown.count("entitled") > second.count("entitled") > 0 and "blue" in second


def test_help_of_every_command():
    from vre.cli.main import COMMANDS

    assert all(name in vre("--help").stdout for name in COMMANDS)
    for name in COMMANDS:
        assert vre(name, "--help").returncode == 0


def test_a_running_platform_is_changed_from_the_command_line(tmp_path):
    # Paths so dear that both routers always have something waiting, and their shares can be judged.
    text = LAB.format(count=100_000_000).replace("FromDevice(eth0)", "FromDevice(eth0) -> Spend(20000)")
    file = tmp_path / "live.toml"
    file.write_text(text)
    more = tmp_path / "more.toml"
    more.write_text(text + '\n[routers.green]\nconfig = "FromDevice(eth0) -> c :: Counter -> ToDevice(eth1);"\n')
    click = tmp_path / "new.click"
    click.write_text("FromDevice(eth0) -> Spend(20000) -> Paint(1) -> c :: Counter -> ToDevice(eth1);")
    box = subprocess.Popen(
        [sys.executable, "-m", "vre", "run", str(file), "--for", "600s", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in box.stderr:
            if line.startswith("running for"):
                break
        live = ("--name", "live")
        assert vre("write", "red.entitlement", "3", *live).returncode == 0
        assert vre("read", "red.entitlement", *live).stdout == "3\n"
        assert "green runs" in vre("add", more, "green", *live).stdout
        assert "paused for" in vre("replace", "blue", click, *live).stdout
        assert int(vre("read", "green/c.count", *live).stdout) >= 0
        decisions = json.loads(vre("show", "decisions", "--count", "5", "--json", *live).stdout)
        assert 0 < len(decisions) <= 5 and {"path", "ticks", "packets"} <= set(decisions[0])
        top = json.loads(vre("top", "--count", "1", "--every", "0.2", "--json", *live).stdout)
        assert {"share", "share 10 s", "share run", "error"} <= set(top[0])
        watcher = subprocess.Popen(
            [sys.executable, "-m", "vre", "top", "--every", "0.2", "--json", *live],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert json.loads(watcher.stdout.readline())
        assert vre("link", "eth0", "delay=2ms", "loss=10%", *live).stdout == "eth0 in: delay=2ms loss.p=0.1\n"
        assert vre("link", "eth0", "loss.r=50%", *live).stdout == "eth0 in: delay=2ms loss.p=0.1 loss.r=0.5\n"
        (impaired,) = json.loads(vre("show", "links", "--json", *live).stdout)
        assert impaired["sent"] > 0 and (impaired["port"], impaired["direction"]) == ("eth0", "in")
        assert "green is removed" in vre("remove", "green", *live).stdout
        for wrong, message in (
            (("write", "rde.entitlement", "1"), "did you mean red"),
            (("write", "red.entitlement", "-1"), "must be a positive weight"),
            (("read", "red"), "is not ROUTER/ELEMENT.HANDLER"),
            (("move", "red/nobody", "0"), "no task 'nobody'"),
            (("move", "red/FromDevice@1", "7"), "there is no core 7"),
            (("add", more, "violet"), "has no router 'violet'"),
            (("remove", "green"), "no router 'green'"),
            (("link", "eth0", "loss=2", "delay=5"), "error: link eth0: loss: 2 is not from 0 to 1"),
            (("link", "eth0", "loss"), "'loss' is not KEY=VALUE"),
            (("link", "eth7"), "no port 'eth7'"),
        ):
            done = vre(*wrong, *live)
            assert done.returncode == 2 and message in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
    finally:
        box.send_signal(signal.SIGINT)
        out, _ = box.communicate(timeout=30)
    # Who watches it sees it end, and that is no mistake of his.
    _, said = watcher.communicate(timeout=30)
    assert (watcher.returncode, said) == (0, "")
    data = json.loads(out)
    for one in data["routers"].values():
        assert one["injected"] == one["forwarded"] + sum(one["dropped"].values()) + one["in_flight"]
    assert 0 < data["jain"] <= 1


@pytest.mark.parametrize("arguments", [["plan", "lab.toml"], ["elements"]])
def test_an_output_without_room_is_said_and_no_traceback(lab, arguments):
    command = [sys.executable, "-m", "vre", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=lab.parent, timeout=60)
    assert done.returncode == 1 and done.stderr == "error: standard output: No space left on device\n"


def test_a_configuration_that_is_not_text_is_said_and_no_traceback(tmp_path):
    file = tmp_path / "new.click"
    file.write_bytes(b"FromDevice(eth0) -> \xff -> Discard;")
    done = vre("replace", "red", file)
    assert done.returncode == 2 and done.stderr == f"error: {file} is not text (UTF-8): byte 0xff\n"


def test_who_came_anew_under_an_old_name_has_done_nothing_before():
    past = [(0.0, {"red": 1, "blue": 2, "green": 3}), (1.0, {"red": 4, "blue": 5})]
    _forget(past, {"red": "x.router-red", "blue": "x.router-blue"}, {"red": "x.router-red.7", "blue": "x.router-blue"})
    assert past == [(0.0, {"blue": 2, "green": 3}), (1.0, {"blue": 5})]


def test_a_zygote_whose_platform_has_gone_without_a_look_at_it_says_nothing():
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "workers.zygote.domus", str(theirs.fileno()), str(os.getpid())]
    zygote = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
    theirs.close()
    assert ours.recv(1, socket.MSG_PEEK)
    ours.close()  # with what it has said in it
    _, said = zygote.communicate(timeout=60)
    assert (zygote.returncode, said) == (0, "")


def test_an_interrupt_while_the_command_is_loaded_leaves_no_traceback():
    code = (
        "import os, runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "runpy.run_module('vre', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
