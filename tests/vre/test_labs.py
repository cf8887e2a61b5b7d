# SPDX-License-Identifier: MIT
"""Labs: hosts in namespaces of their own, real programs in them, and nothing left after any end."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import pytest

from shm.run_directory import run_root
from tests.vre.hosts import need
from vre.lab.reader import load_lab
from workers.wire.capture_reader import Findings, read_records

ROOT = Path(__file__).resolve().parents[2]
LABS = ROOT / "examples" / "labs"
NAME = f"vt{os.getpid()}"
#: Two hosts and a router between them; a command that ends, and one that does not.
SMALL = """
links = [["h1:eth0", "red:eth0"], ["red:eth1", "h2:eth0"], ["h1:eth1", "h2:eth1"]]
[hosts.h1]
address = { eth0 = "10.0.1.2/24", eth1 = "10.0.3.1/24" }
gateway = "10.0.1.1"
[hosts.h2]
address = { eth0 = "10.0.2.2/24", eth1 = "10.0.3.2/24" }
gateway = "10.0.2.1"
run = ["sleep SECONDS", "echo said; exit 3"]
[routers.red]
ports = { eth0 = "10.0.1.1/24", eth1 = "10.0.2.1/24" }
"""


@pytest.fixture(scope="module", autouse=True)
def hosts_are_possible():
    need("ip", "ping", "traceroute")


def write(folder, name):
    """Write the topology file of a lab; in its second host it runs a command that is like no other's."""
    file = folder / "small.toml"
    file.write_text(SMALL.replace("SECONDS", sleep_of(name)))
    return file


def sleep_of(name):
    return str(10**8 + zlib.crc32(name.encode()))


def as_root(*arguments, **settings):
    """Run `vre lab` as this user."""
    command = [sys.executable, "-m", "vre", "lab", *map(str, arguments)]
    settings = {
        "capture_output": True,
        "text": True,
        "timeout": 200,
        "env": os.environ | settings.pop("env", {}),
    } | settings
    return subprocess.run(command, cwd=ROOT, **settings)


def assert_nothing_left(name):
    assert not [one for one in os.listdir("/run/netns") if one.startswith(f"{name}-")]
    assert not (run_root() / ".labs" / name).exists() and not (run_root() / name).exists()
    running = subprocess.run(["ps", "axo", "args"], capture_output=True, text=True).stdout
    assert f"sleep {sleep_of(name)}" not in running


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The name of a lab that is up."""
    file = write(tmp_path_factory.mktemp("lab"), NAME)
    if os.geteuid():
        pytest.skip("needs root; the same as an ordinary user is tested below")
    done = as_root("up", "--detach", "--name", NAME, file)
    assert done.returncode == 0, done.stderr
    yield NAME
    done = as_root("down", "--name", NAME)
    assert done.returncode == 0, done.stderr
    assert_nothing_left(NAME)


def test_hosts_reach_each_other_and_each_hop_has_a_name(small):
    assert f"{small}-h1" in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout
    done = as_root("exec", "--name", small, "h1", "--", "ping", "-c", "3", "-i", "0.1", "-w", "20", "10.0.2.2")
    assert done.returncode == 0, done
    done = as_root("exec", "--name", small, "h1", "--", "traceroute", "-n", "-q", "1", "-w", "5", "10.0.2.2")
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["10.0.1.1", "10.0.2.2"], done.stdout
    # Two hosts that are linked directly.
    assert as_root("exec", "--name", small, "h2", "--", "ping", "-c", "1", "10.0.3.1").returncode == 0


def test_every_packet_is_accounted_for(small):
    view = [sys.executable, "-m", "vre", "show", "routers", "--name", small, "--json"]
    for _ in range(100):
        shown = json.loads(subprocess.run(view, capture_output=True, text=True, cwd=ROOT).stdout)["red"]
        if shown["in_flight"] == 0:
            break
    assert shown["injected"] == shown["forwarded"] + sum(shown["dropped"].values()) > 0


def test_a_command_keeps_its_status_its_input_and_its_folder(small, tmp_path):
    say = ("exec", "--name", small, "h1", "--")
    assert as_root(*say, "sh", "-c", "exit 7").returncode == 7
    assert as_root(*say, "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    assert as_root(*say, "cat", input="as it was").stdout == "as it was"
    done = as_root(*say, "no-such-program")
    assert (done.returncode, done.stderr) == (127, "error: there is no program 'no-such-program'\n")
    done = as_root("exec", "--name", small, "h1", input="echo $((6 * 7))\n", env={"SHELL": "/bin/sh"})
    assert done.stdout == "42\n", "without a command it is a shell"
    done = as_root("exec", "--name", small, "h3", "true")
    assert done.returncode == 2 and "there is no host 'h3'; the hosts are h1, h2" in done.stderr
    done = as_root("exec", "--name", small, "red", "true")
    assert done.returncode == 2 and "'red' is a router" in done.stderr


def test_a_shell_in_a_host_has_the_terminal(small):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(
            sys.executable,
            [sys.executable, "-m", "vre", "lab", "exec", "--name", small, "h1"],
            os.environ | {"SHELL": "/bin/sh", "PYTHONPATH": str(ROOT), "PS1": "> "},
        )
    os.write(terminal, b"sleep 1000\n")
    said, held = b"", ["exec", "--name", small, "h1", "--", "pgrep", "-fx", "sleep 1000"]
    while as_root(*held).returncode:
        pass
    os.write(terminal, b"\x03")  # Ctrl-C ends what runs there, and not the shell
    os.write(terminal, b"echo $((6 * 7)); tty; exit 5\n")
    while b"/dev/" not in said:
        said += os.read(terminal, 4096)
    assert b"42" in said and b"no job control" not in said
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5, said
    os.close(terminal)


def test_processes_of_a_host_see_each_other_and_no_others(small):
    seen = as_root("exec", "--name", small, "h2", "--", "ps", "axo", "args").stdout
    assert f"sleep {sleep_of(small)}" in seen
    expected = ("COMMAND", "vre lab up", "sleep", "ps axo")
    assert [line for line in seen.splitlines() if not any(word in line for word in expected)] == []
    assert (run_root() / ".labs" / small / "hosts.log").read_text() == "said\n"


def test_a_link_is_captured_both_ways(small, tmp_path):
    out = tmp_path / "link.pcapng"
    command = [sys.executable, "-m", "vre", "lab", "capture", "red:eth0", "--name", small, "-c", "8", "-o", str(out)]
    with subprocess.Popen(command, cwd=ROOT) as capture:
        while capture.poll() is None:
            as_root("exec", "--name", small, "h1", "--", "ping", "-c", "1", "-W", "1", "10.0.1.1")
        assert capture.returncode == 0
    frames = [record.data for record in read_records(out, Findings())]
    assert len(frames) == 8
    assert {frame[34] for frame in frames if frame[12:14] == b"\x08\x00"} >= {0, 8}, "echo requests and replies"


def test_status_names_each_end(small):
    data = json.loads(as_root("status", "--name", small, "--json").stdout)
    assert data["rootless"] is False and len(data["ports"]) == 6
    row = {"node": "h2", "kind": "host", "port": "eth0", "address": "10.0.2.2/24", "far end": "red:eth1", "link": ""}
    assert row in data["ports"]
    done = as_root("up", "--name", small, LABS / "course.toml")
    assert done.returncode == 2 and f"a lab named '{small}' is running" in done.stderr


def test_a_lab_that_is_killed_leaves_nothing_once_the_next_command_has_run(tmp_path):
    if os.geteuid():
        pytest.skip("needs root")
    name = f"{NAME}k"
    file = write(tmp_path, name)
    assert as_root("up", "--detach", "--name", name, file).returncode == 0
    subprocess.run(["ip", "netns", "add", f"{name}-mine"], check=True)
    try:
        pid = json.loads((run_root() / ".labs" / name / "lab.json").read_text())["pid"]
        with subprocess.Popen(["ip", "netns", "exec", f"{name}-h1", "sleep", "1000"]) as inside:
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}"):
                time.sleep(0.01)
            assert as_root("status", "--name", name).returncode == 2
            assert inside.wait() == -signal.SIGKILL, "it was in a namespace that the lab had made"
        assert os.listdir("/run/netns").count(f"{name}-mine") == 1, "the lab has not made it"
    finally:
        subprocess.run(["ip", "netns", "del", f"{name}-mine"], check=True)
    assert_nothing_left(name)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_lab_in_the_foreground(tmp_path, number):
    if os.geteuid():
        pytest.skip("needs root")
    name = f"{NAME}s"
    file = write(tmp_path, name)
    command = [sys.executable, "-m", "vre", "lab", "up", "--name", name, str(file)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as lab:
        said = []
        while not said or "h2: 'echo said; exit 3' ended with status 3" not in said[-1]:
            said.append(lab.stderr.readline())
            assert said[-1], said
        assert any(f"lab {name} is up: 1 router(s), 3 link(s), 2 host(s): h1, h2" in line for line in said)
        lab.send_signal(number)
        assert lab.wait() == 128 + number
    assert_nothing_left(name)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("example", ["course", "paper", "triangle"])
def test_the_checks_of_an_example_hold(example, request):
    need("curl", "iperf3")
    if os.geteuid():
        pytest.skip("needs root")
    if example == "triangle":
        need("bird")
    if example == "paper":
        request.getfixturevalue("strict_jail")
    name = f"{NAME}c"
    try:
        done = as_root("up", "--detach", "--name", name, LABS / f"{example}.toml", timeout=600)
        assert done.returncode == 0, done.stderr
        done = as_root("check", "--json", "--name", name)
        result = json.loads(done.stdout)
        assert done.returncode == 0 and result["pass"], [one for one in result["checks"] if not one["holds"]]
        if example == "course":
            for more in ([], ["-u", "-b", "5M"]):
                command = ["iperf3", "-c", "10.0.2.2", "-n", "1M", "-J", *more]
                end = json.loads(as_root("exec", "--name", name, "h1", "--", *command).stdout)["end"]
                assert (end.get("sum_received") or end["sum"])["bytes"] > 0
    finally:
        done = as_root("down", "--name", name)
    assert done.returncode == 0, done.stderr
    assert_nothing_left(name)


@pytest.mark.parametrize("example", sorted(LABS.glob("*.toml")), ids=lambda file: file.stem)
def test_an_example_has_no_mistakes(example):
    if "bird" in example.read_text():
        need("bird")
    lab = load_lab(example)
    assert lab.hosts and lab.links


@pytest.fixture
def open_folder():
    """A folder that other users can reach: pytest's own are closed to them again by each of its runs."""
    with tempfile.TemporaryDirectory(prefix="vre-labs-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


#: Without a platform, which would compile: two hosts that are linked directly, and what runs in them.
HOSTS_ALONE = """
import subprocess, sys
from pathlib import Path
from vre.lab import namespaces
from vre.lab.directory import LabDirectory
from vre.lab.hosts import configure_hosts, make_hosts
from vre.lab.init import Init
from vre.lab.isolation import isolate
from vre.lab.reader import load_lab

lab = load_lab(Path(sys.argv[1]))
lab.links = [link for link in lab.links if all(end.node in lab.hosts for end in link.ends)]
for host in lab.hosts.values():
    host.routes = ()
isolate()
make_hosts(lab, LabDirectory(lab.name))
configure_hosts(lab)
init = Init(Path(sys.argv[2]))
ping = ["ping", "-q", "-c", "1", "-w", "20", "10.0.3.2"]
print(namespaces.run_in("small-h1", lambda: subprocess.run(ping, stdout=subprocess.DEVNULL).returncode))
init.run([("small-h2", "sleep 1000 & echo $$")])
while not list(init.ended()):
    pass
print(Path(sys.argv[2]).read_text().strip())
"""


@pytest.fixture
def user(open_folder):
    """How an ordinary user without any capability runs Python, and their environment."""
    if os.geteuid():
        pytest.skip("this run is an ordinary user's already")
    setpriv, python = shutil.which("setpriv"), "/usr/bin/python3"
    if not setpriv or not Path(python).exists():
        pytest.skip("needs setpriv and a Python that every user can run")
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    paths = [str(ROOT), *(p for p in sys.path if p.endswith("-packages"))]
    environment = {
        "HOME": str(home),
        "VRE_CACHE": f"{home}/cache",
        "VRE_RUN": f"{home}/run",
        "PATH": os.environ["PATH"],
    }
    environment |= {"PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all", python]

    def run(*arguments, timeout=280):
        settings = {"env": environment, "capture_output": True, "text": True, "cwd": open_folder}
        return subprocess.run([*command, *map(str, arguments)], timeout=timeout, **settings)

    probed = run("-c", "from vre.lab.isolation import isolate; isolate(); import numba, pyroute2")
    if probed.returncode:
        pytest.skip(f"an ordinary user can have no lab here: {probed.stderr.strip().splitlines()[-1:]}")
    return run


def test_an_ordinary_user_makes_hosts(user, open_folder):
    done = user("-c", HOSTS_ALONE, write(open_folder, "small"), open_folder / "home" / "log")
    assert done.stdout == "0\n2\n", ("the ping's status, and the number of a process in its namespace", done)
    assert "small-h1" not in os.listdir("/run/netns"), "theirs are in a mount namespace of their own"


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_an_ordinary_user_has_labs_as_well(user, open_folder):
    home, file = open_folder / "home", write(open_folder, "small")

    def vre(*arguments):
        return user("-m", "vre", "lab", *arguments, timeout=600)

    done = vre("up", "--detach", file)
    assert done.returncode == 0, done.stderr
    assert "small-h1" not in os.listdir("/run/netns")
    done = vre("exec", "h1", "--", "ping", "-c", "3", "-i", "0.2", "-w", "20", "10.0.2.2")
    assert done.returncode == 0, done
    assert vre("exec", "h1", "--", "ip", "addr", "add", "10.0.9.1/24", "dev", "eth0").returncode == 0
    assert vre("exec", "h1", "--", "id", "-u").stdout == "65534\n"
    pid = json.loads((home / "run/.labs/small/lab.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.01)
    assert "no lab is running" in vre("status").stderr
    assert os.listdir(home / "run/.labs") == [] and not (home / "run/small").exists()
    running = subprocess.run(["ps", "axo", "uid,args"], capture_output=True, text=True).stdout
    assert f"sleep {sleep_of('small')}" not in running
