# SPDX-License-Identifier: MIT
"""Faults around the domUs: what reaches dom0 from outside, and what the host does to it.

Each is let loose on a running platform by :mod:`vre.chaos.runner`, which watches what the other routers lose
meanwhile. A fault does its harm, waits for what should follow, and returns what is not as it should be, "" if all is.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

from shm.run_directory import RunDirectory
from vre.chaos.fault_table import fault
from vre.chaos.process_faults import kill_worker
from vre.config.model import Router
from vre.config.reader import from_text
from vre.errors import ConfigError, PlatformError, VreError
from vre.platform.platform import Platform
from workers.datapath.headers import IP_SIZE
from workers.element import RAISED, load

#: What the platform may take to answer, whatever is done to it meanwhile.
ANSWER_S = 1.0
#: A router that comes and goes, and what it is entitled to: the others shall not notice.
GUEST, _SHARE = "vre-chaos-guest", 0.01
#: Arguments for each element that has a slow path.
SLOW = {
    "ARPQuerier": "10.9.9.9, 2:0:0:0:9:9",
    "ICMPError": "10.9.9.9, parameterproblem",
    "ICMPPingResponder": "",
    "IPFragmenter": "100",
    "IPGWOptions": "10.9.9.9",
    "Print": "chaos",
}
#: What begins like an IP packet, and is none: header lengths, total lengths and options that lie; an ARP packet.
_ADDRESSES = "0a0909090a090909"
#: How often each of them is sent.
_REPEATS = 10
MALFORMED = (
    "45",
    "4f0000140000000040010000" + _ADDRESSES + "01" * 4,
    "4f0000280000000040010000" + _ADDRESSES + "0703040101",
    "400000140000000040010000" + _ADDRESSES,
    "450000000000000040010000" + _ADDRESSES,
    "4500ffff0000200040010000" + _ADDRESSES,
    "460000180000000040010000" + _ADDRESSES + "44ff0500",
    "460000180000000040010000" + _ADDRESSES + "83000000",
    "550000140000000000010000" + _ADDRESSES,
    "ff" * 60,
    "00" * 14,
    "000108000604000102000000090a0a0909",
)
#: Lines for the control socket that are no requests, or ask for what cannot be.
FORGED = (
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"do": []}',
    b'{"do": "halt"}',
    b'{"do": "read", "what": 5}',
    b'{"do": "read"}',
    b'{"do": "write", "what": "x.entitlement", "value": 1e308}',
    b'{"do": "write", "what": "vre-chaos.entitlement", "value": "1e308"}',
    b'{"do": "write", "what": "vre-chaos.entitlement", "value": "nan"}',
    b'{"do": "add", "file": "/dev/zero", "router": "x"}',
    b'{"do": "add", "file": "/", "router": {}}',
    b'{"do": "move", "path": "x", "core": 1e999}',
    b'{"do": "replace", "router": "vre-chaos", "config": "' + b"a :: b(" * 1000 + b'", "file": "x"}',
    b'{"do": "view", "what": "__class__"}',
)


# Requests.


def _client(box: Platform) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(RunDirectory(box.model.name).path / "control"))
    client.setblocking(False)
    return client


def _ask(box: Platform, line: bytes) -> dict[str, object] | None:
    """Send a line to the platform, which is this process; return its answer, None if none comes in time."""
    with _client(box) as client:
        client.sendall(line[:65536] + b"\n")
        end, answer = time.monotonic() + ANSWER_S, b""
        while not answer.endswith(b"\n") and time.monotonic() < end:
            box.tend(0.01)
            with contextlib.suppress(BlockingIOError):
                answer += client.recv(65536)
    return json.loads(answer) if answer.endswith(b"\n") else None


def _answers(box: Platform) -> str:
    """Return "" if the platform answers as it should, else what is wrong."""
    answer = _ask(box, b'{"do": "view", "what": "events"}')
    return "" if answer and answer.get("ok") else f"a request was not answered within {ANSWER_S:g} s: {answer}"


@fault("control", "sends what is no request to the control socket")
def forged_requests(box: Platform) -> str:
    """Send lines that are no requests; each has an answer that says so."""
    for line in FORGED:
        answer = _ask(box, line)
        if not answer or "error" not in answer:
            return f"{line[:60]!r} was answered with {answer}"
    return _answers(box)


@fault("control", "asks for much over many connections, and reads no answer")
def unread_answers(box: Platform) -> str:
    """Ask and do not read."""
    clients = [_client(box) for _ in range(20)]
    try:
        for client in clients:
            with contextlib.suppress(OSError):
                for _ in range(100):
                    client.send(b'{"do": "view", "what": "events"}\n' * 100)
            box.tend(0.005)
        return _answers(box)
    finally:
        for client in clients:
            client.close()


# Packets.

#: How long a busy core may take for all malformed packets, in seconds.
_HANDLED_S = 20.0


def guest(box: Platform, config: str, share: float = _SHARE) -> Router:
    """Return a router that may be added to a platform; it is entitled to `share` times the least of the others."""
    return Router(GUEST, share * min(r.entitlement for r in box.model.routers.values()), from_text(config, GUEST))


def malformed_config() -> str:
    """Return a configuration that sends each malformed packet into each element with a slow path, some times."""
    lines = [f"RatedSource(DATA \\<{data}>, RATE 100000, LIMIT {_REPEATS}) -> all;" for data in MALFORMED]
    lines.append(f"all :: MarkIPHeader(0) -> t :: Tee({len(SLOW)});")
    for i, (name, arguments) in enumerate(SLOW.items()):
        lines.append(f"t[{i}] -> e{i} :: {name}({arguments}) -> Discard;")
        ports = load()[name].ports
        lines += [f"e{i}[1] -> Discard;"] if ports.endswith("-2") else []
        lines += [f"Idle -> [1] e{i};"] if ports.startswith("2/") else []
    return "\n".join(lines)


@fault("packets", "sends malformed packets into every element with a slow path")
def malformed_packets(box: Platform) -> str:
    """Add a router that is sent malformed packets, and remove it."""
    # Each of them is made, and copied to each element if it is long enough to begin like an IP packet.
    wanted = _REPEATS * sum(len(SLOW) if len(data) >= 2 * IP_SIZE else 1 for data in MALFORMED)
    # Where all want more than there is, the slow path of a router with a small share would take minutes.
    box.add(guest(box, malformed_config(), 1.0))
    end = box.now() + _HANDLED_S
    while box.handle(GUEST).stats().injected < wanted and box.now() < end:
        box.tend(0.1)
    account = box.handle(GUEST).stats()
    box.remove(GUEST)
    if account.dropped.get(RAISED):
        return f"{account.dropped[RAISED]} packets made an element raise"
    return "" if account.injected >= wanted else f"only {account.injected} packets were handled"


# Streams.


@contextlib.contextmanager
def full_pipe(descriptor: int) -> Iterator[None]:
    """Make a descriptor a full pipe that is not read."""
    saved, (reader, writer) = os.dup(descriptor), os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    os.dup2(writer, descriptor)
    try:
        yield
    finally:
        os.dup2(saved, descriptor)
        for fd in (saved, reader, writer):
            os.close(fd)


@fault("streams", "prints packets to a stream that is not read")
def stopped_reader(box: Platform) -> str:
    """Let a router print to a full pipe; everything else goes on."""
    with full_pipe(2):
        box.add(guest(box, "RatedSource(RATE 2000) -> Print(chaos) -> Discard;"))
        begun = time.monotonic()
        box.tend(0.5)
        box.parts.runtime.report("a line that is not read")
        wrong = _answers(box)
        took = time.monotonic() - begun
        box.remove(GUEST)
    return wrong or ("" if took < 0.5 + 2 * ANSWER_S else f"the platform stood still for {took:.1f} s")


# Resources, and changes that fail.


@contextlib.contextmanager
def limited(which: int, value: int) -> Iterator[None]:
    """Let this process have no more than `value` of a resource."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (min(value, hard) if hard != resource.RLIM_INFINITY else value, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


_POSSIBLE = "a router could be added although that was impossible"


def _fails_and_works(box: Platform, limit: contextlib.AbstractContextManager[None]) -> str:
    """Add a router while something lacks; that must fail and leave no trace, and work afterwards."""
    routers = list(box.model.routers)
    config = "RatedSource(RATE 1000) -> Counter -> Discard;"
    try:
        with limit:
            box.add(guest(box, config))
    except (PlatformError, ConfigError):
        pass
    else:
        box.remove(GUEST)
        return _POSSIBLE
    if list(box.model.routers) != routers:
        return "a change that failed has left its router behind"
    box.add(guest(box, config))
    box.tend(0.1)
    box.remove(GUEST)
    return _answers(box)


@fault("resources", "adds a router while nothing can be written: a full disk")
def full_disk(box: Platform) -> str:
    """Let every file be at its longest; shared memory is one, too."""
    return _fails_and_works(box, limited(resource.RLIMIT_FSIZE, 0))


#: How often a platform may find a descriptor after all.
_TRIES = 3


@fault("resources", "adds a router while no descriptor is left")
def no_descriptors(box: Platform) -> str:
    """Let no descriptor be free; one that becomes free meanwhile, as a process has ended, is taken the next time."""
    wrong = _POSSIBLE
    for _ in range(_TRIES):
        if wrong == _POSSIBLE:
            box.tend(0.2)
            wrong = _take_descriptors(box)
    return wrong


def _take_descriptors(box: Platform) -> str:
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    held: list[int] = []
    with contextlib.suppress(OSError), limited(resource.RLIMIT_NOFILE, highest + 2):
        while True:
            held.append(os.dup(0))
    try:
        return _fails_and_works(box, limited(resource.RLIMIT_NOFILE, highest + 1))
    finally:
        for fd in held:
            os.close(fd)


@fault("changes", "asks for changes that cannot be made, and kills a worker in the middle of one", kills=True)
def failing_changes(box: Platform) -> str:
    """Fail in each way; all goes on as before, and the next change works."""
    routers = {name: r.graph for name, r in box.model.routers.items()}
    name = next(iter(routers))
    impossible: tuple[Callable[[], object], ...] = (
        lambda: box.replace(name, "FromDevice(nowhere) -> Discard;"),
        lambda: box.replace(name, "Idle -> Discard;"),
        lambda: box.replace(name, "x :: ;"),
        lambda: box.move(f"{name}/nothing", 0),
        lambda: box.write(f"{name}.entitlement", "-1"),
        lambda: box.remove("missing"),
        lambda: box.add(guest(box, "Idle -> Untrusted(/nowhere/x.py:X) -> Discard;")),
    )
    for change in impossible:
        try:
            change()
        except (VreError, ValueError):
            continue
        return "a change was made that is impossible"
    timer = threading.Timer(0.02, kill_worker, (box, True))
    timer.start()
    with contextlib.suppress(PlatformError, ConfigError):
        box.add(guest(box, "RatedSource(RATE 1000) -> Discard;"))
    timer.join()
    if GUEST in box.model.routers:
        box.remove(GUEST)
    if {name: r.graph for name, r in box.model.routers.items()} != routers:
        return "a change that failed has left something else behind"
    return _answers(box)
