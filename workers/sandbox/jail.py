# SPDX-License-Identifier: MIT
"""The jail of a domU, layer by layer. Each layer raises :class:`JailError` where it cannot be had.

| layer | `strict` | `reduced` | `unsafe` |
| --- | --- | --- | --- |
| no descriptors but its own, no environment, dies with its parent | yes | yes | yes |
| PID, mount, network, IPC, UTS namespaces; a user namespace where not root | yes | | |
| a read-only root with an interpreter in it, no /proc | yes | | |
| a uid of its own, where root; no capabilities; no_new_privs; limits | yes | yes | yes, but for the uid |
| Landlock: reads the interpreter, no TCP, no signals | where there is | yes | |
| system calls filtered | yes | yes | |
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

from workers.sandbox import landlock, seccomp
from workers.sandbox.folders import Readable

TIERS = ("strict", "reduced", "unsafe")
#: User ids of domUs, where root may give them: far above anything that users or containers get.
FIRST_UID = 0x7000_0000
#: Where a domU's elements seem to come from: they are in memory, see :mod:`workers.domu.sources`.
ELEMENT = "/element"

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_MS_NOEXEC, _MS_NOATIME, _MS_NODIRATIME = 8, 1024, 2048
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_SIGKILL = 9
_libc = ctypes.CDLL(None, use_errno=True)


class JailError(RuntimeError):
    """A layer that this host does not give."""


def _must(result: int, what: str) -> None:
    if result != 0:
        raise JailError(f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare() -> None:
    """Take namespaces of one's own; the next child is the first process of its PID namespace."""
    flags = _NEWNS | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        _must(_libc.unshare(_NEWUSER), "no user namespaces for ordinary users")
        for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", file).write_text(text)
    _must(_libc.unshare(flags), "namespaces")


def may_unshare() -> bool:
    """Return whether :func:`unshare` works here; found by doing, in a child."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    status = 1
    try:
        unshare()
        status = 0
    except (JailError, OSError):
        pass
    finally:
        os._exit(status)


def enter_root(at: str, readable: Readable) -> None:
    """Make a small read-only root at the folder `at`, of what is `readable` on the host, and be in it."""
    # It is another user's than the one who makes it, whose mask may keep all others out.
    os.umask(0o022)
    _must(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "a mount namespace of its own")
    _mount("tmpfs", at, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=16m,mode=755")
    for path in readable.folders:
        _bind(path, at + path)
    for link, text in readable.links.items():
        # Where it stands leads over no link. It may be in a folder that is there already.
        if not os.path.lexists(at + link):
            os.makedirs(os.path.dirname(at + link), exist_ok=True)
            os.symlink(text, at + link)
    os.chdir(at)
    number = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
    _must(_libc.syscall(number, b".", b"."), "pivot_root")
    _must(_libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    _mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode() if kind else None, flags, data.encode() or None)
    _must(_libc.mount(*arguments), f"mount on {target}")


def _bind(path: str, target: str) -> None:
    if os.path.isdir(path):
        os.makedirs(target, mode=0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        Path(target).touch()
    _mount(path, target, None, _MS_BIND | _MS_REC)
    # A mount from outside keeps the flags that it has there: an ordinary user may not take them off.
    kept = os.statvfs(target).f_flag & (_MS_NOEXEC | _MS_NOATIME | _MS_NODIRATIME)
    _mount("none", target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | kept)


def footprint() -> tuple[int, int]:
    """Return the bytes of address space, and of data, that this process has."""
    pages = [int(n) for n in Path("/proc/self/statm").read_text().split()]
    return pages[0] * resource.getpagesize(), pages[5] * resource.getpagesize()


def limit(memory: int, mapped: int, data: int) -> None:
    """Set what a domU may use: `memory` bytes more than its :func:`footprint`."""
    for kind, most in (
        (resource.RLIMIT_AS, mapped + 2 * memory),
        (resource.RLIMIT_DATA, data + memory),
        (resource.RLIMIT_NPROC, 16),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        resource.setrlimit(kind, (most, most))


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def give_up(uid: int | None) -> None:
    """Become user `uid`, if one is given; have no capabilities, and get none ever again."""
    for capability in range(64):
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, none = _CapHeader(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _must(_libc.capset(ctypes.byref(header), ctypes.byref(none)), "giving up capabilities")
    _must(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Changing the user has cleared it.
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def lock(tier: str, program: bytes | None, readable: Readable) -> None:
    """Lock the jail: untrusted code may run from here on."""
    if tier == "unsafe":
        return
    held = landlock.restrict(["/"] if tier == "strict" else readable.folders)
    if tier == "reduced" and not (held and landlock.version() >= 6):
        raise JailError("the tier 'reduced' needs Landlock 6 (Linux 6.12)")
    if program is None:
        raise JailError("system calls cannot be filtered")
    try:
        seccomp.load_filter(program)
    except seccomp.SeccompError as error:
        raise JailError(str(error)) from None
