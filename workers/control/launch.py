# SPDX-License-Identifier: MIT
"""Starting a routing daemon in its router's namespace, and in a jail: `python -m workers.control.launch JSON`.

| layer | a daemon's |
| --- | --- |
| network namespace | its router's |
| PID, mount, IPC, UTS namespaces | its own |
| files | read-only but /run, /tmp, /var/tmp, /var/log, /etc/frr and /etc/bird, which are empty and its own |
| capabilities | those of the network, and to become another user; FRR's also SYS_ADMIN and DAC_OVERRIDE |
| no_new_privs, limits on data, files, descriptors | yes |
| Landlock, a filter of system calls | no: what a daemon calls is not the platform's to know |

It dies with the platform, and all that it has started with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from workers.control.addresses import Interfaces
from workers.control.namespace import enter
from workers.process import follow_parent
from workers.sandbox.jail import JailError

_NEWNS, _NEWUTS, _NEWIPC, _NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
#: mount_setattr(2), the same number everywhere: AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY.
_MOUNT_SETATTR, _HERE, _RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 1
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 24, 38
_DAC_OVERRIDE, _SETGID, _SETUID, _SYS_ADMIN = 1, 6, 7, 21
_NET_BIND_SERVICE, _NET_BROADCAST, _NET_ADMIN, _NET_RAW = 10, 11, 12, 13
#: zebra asks for SYS_ADMIN; vtysh, as root, writes to sockets of another user.
_FRR = {_DAC_OVERRIDE, _SYS_ADMIN}
_NETWORK = {_SETGID, _SETUID, _NET_BIND_SERVICE, _NET_BROADCAST, _NET_ADMIN, _NET_RAW}
#: Folders of its own, where the host has them.
_OWN = ("/run", "/tmp", "/var/tmp", "/var/log", "/etc/frr", "/etc/bird")
_FILES, _DESCRIPTORS = 64 << 20, 1024
#: Longest line that a program writes.
_LINE = 1000
#: How long FRR's daemons may take to listen.
_LISTEN_S = 20.0
_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int, what: str) -> None:
    if result != 0:
        raise JailError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(kind: str, target: str, flags: int, data: str = "") -> None:
    _must(_libc.mount(kind.encode(), target.encode(), kind.encode(), flags, data.encode() or None), f"mount {target}")


def shut_in(memory: int, keep: set[int]) -> None:
    """Lock the process, which is the first of its PID namespace, into its jail. Raises JailError."""
    _must(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "a mount namespace")
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY, 0, 0, 0)
    # Older kernels than 5.12 do not know it: then it could write where its user may.
    _libc.syscall(_MOUNT_SETATTR, _HERE, b"/", _RECURSIVE, ctypes.byref(attributes), ctypes.sizeof(attributes))
    for folder in _OWN:
        if os.path.isdir(folder):
            _mount("tmpfs", folder, _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "size=16m,mode=755")
    _mount("proc", "/proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for kind, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, _FILES),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    for capability in set(range(64)) - keep:
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    _must(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def run_bird(program: str, config: str, only_check: bool) -> NoReturn:
    """Become BIRD."""
    os.makedirs("/run/bird", exist_ok=True)
    Path("/run/bird/bird.conf").write_text(config)
    check = ["-p"] if only_check else ["-f", "-s", "/run/bird/bird.ctl", "-P", "/run/bird/bird.pid"]
    os.execv(program, [program, "-c", "/run/bird/bird.conf", *check])


def run_frr(programs: list[str], config: str, only_check: bool) -> int:
    """Run FRR's daemons until one of them ends; return its status."""
    owner = pwd.getpwnam("frr")
    Path("/etc/frr/frr.conf").write_text(config)
    Path("/etc/frr/vtysh.conf").write_text("service integrated-vtysh-config\n")
    if only_check:
        return subprocess.call(["vtysh", "-C", "-f", "/etc/frr/frr.conf"])
    for folder in ("/run/frr", "/var/tmp/frr"):
        os.makedirs(folder, exist_ok=True)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    started: list[subprocess.Popen[bytes]] = []
    for program in programs:
        started.append(subprocess.Popen([program, "-A", "127.0.0.1", "-P", "0"]))
        listening, end = Path(f"/run/frr/{Path(program).name}.vty"), time.monotonic() + _LISTEN_S
        while not listening.exists() and time.monotonic() < end and started[-1].poll() is None:
            time.sleep(0.02)
    subprocess.call(["vtysh", "-b"])
    while True:
        pid, status = os.wait()
        if any(pid == one.pid for one in started):
            return os.waitstatus_to_exitcode(status) & 0xFF


def _give_up_capabilities() -> None:
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def run_program(config: str, name: str, only_check: bool) -> int:
    """Run a program that says, a line each, which routes there are; return its status.

    It writes `add NETWORK via GATEWAY` or `remove NETWORK`, and reads `ok`, or `error: ` and why. What it writes to its
    standard error is shown. It has no capabilities: what it asks for is done here, in the namespace.
    """
    try:
        compile(config, name, "exec")
    except SyntaxError as error:
        print(f"{name}:{error.lineno}: {error.msg}", flush=True)
        return 1
    if only_check:
        return 0
    file = Path("/run/program.py")
    file.write_text(config)
    program = subprocess.Popen(
        [sys.executable, "-I", "-u", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/run",
        preexec_fn=_give_up_capabilities,
    )
    assert program.stdin and program.stdout
    with Interfaces() as links:
        while line := program.stdout.readline(_LINE):
            answer = carry_out(links, line.decode(errors="replace").split())
            try:
                program.stdin.write(f"{answer}\n".encode())
                program.stdin.flush()
            except BrokenPipeError:
                break
    return program.wait() & 0xFF


def carry_out(links: Interfaces, words: list[str]) -> str:
    """Do what a program asks for; return the answer."""
    try:
        match words:
            case ["add", network, "via", gateway]:
                links.add_route(f"{network} via {gateway}")
            case ["remove", network]:
                links.remove_route(network)
            case _:
                return "error: not 'add NETWORK via GATEWAY' and not 'remove NETWORK'"
    except (OSError, ValueError) as error:
        return f"error: {error.strerror if isinstance(error, OSError) else error}"
    return "ok"


def main() -> int:
    """Enter the namespaces, and run what is asked for in them; return its status."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    follow_parent(asked["parent"])
    enter(asked["namespace"])
    os.close(asked["namespace"])
    _must(_libc.unshare(_NEWNS | _NEWUTS | _NEWIPC | _NEWPID), "namespaces")
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code
    status = 1
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        keep = _NETWORK | (_FRR if asked["kind"] == "frr" else set())
        shut_in(asked["memory"], keep)
        if asked["kind"] == "bird":
            run_bird(asked["programs"][0], asked["config"], asked["check"])
        if asked["kind"] == "frr":
            status = run_frr(asked["programs"], asked["config"], asked["check"])
        else:
            status = run_program(asked["config"], asked["name"], asked["check"])
    except (JailError, OSError) as error:
        print(f"cannot start: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
