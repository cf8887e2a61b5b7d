# SPDX-License-Identifier: MIT
"""The namespaces that a lab's own process is in.

The platform's ends of links are in a network namespace of the lab's, which goes with its last process. For an ordinary
user there is a user namespace around it, with their own id: in it the lab has all capabilities, outside none. /run is
the host's there, but for /run/netns, which is the lab's.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from vre.errors import PlatformError
from vre.lab import kernel, namespaces

_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_APPARMOR = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


def is_rootless() -> bool:
    """Return whether this user needs a user namespace for a lab."""
    return os.geteuid() != 0


def isolate(own_network: bool = True) -> None:
    """Enter the namespaces of a lab; the process has a single thread.

    Parameters
    ----------
    own_network : bool
        False: the platform stays in the network namespace that it was started in, whose interfaces it takes.

    Raises
    ------
    PlatformError
        The host does not allow it, with a remedy.
    """
    try:
        if is_rootless():
            _enter_user_namespace()
            _own_run()
        if own_network or is_rootless():
            kernel.unshare(kernel.NEWNET)
        namespaces.make_folder()
    except OSError as error:
        raise PlatformError(_why(error)) from None


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.NEWUSER | kernel.NEWNS)
    for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", file).write_text(text)
    kernel.keep_capabilities()


def _own_run() -> None:
    """Mount a /run of the lab's own: all of the host's is there, but for /run/netns, which is empty."""
    kernel.leave_mounts()
    stage = Path(tempfile.mkdtemp(prefix="vre-run-"))
    kernel.mount_tmpfs(str(stage))
    for entry in os.scandir("/run"):
        copy = stage / entry.name
        with contextlib.suppress(OSError):  # what this user may not even see is not there
            if entry.is_symlink():
                copy.symlink_to(os.readlink(entry.path))
            elif entry.name != "netns":
                copy.mkdir() if entry.is_dir() else copy.touch()
                kernel.bind(entry.path, str(copy))
    kernel.bind(str(stage), "/run")
    kernel.unmount(str(stage))
    stage.rmdir()


def _why(error: OSError) -> str:
    """Return why there are no namespaces, and what would help."""
    why = f"a lab needs namespaces of its own: {error.strerror} ({error.filename})"
    if not is_rootless():
        return f"{why}; it needs CAP_SYS_ADMIN and CAP_NET_ADMIN"
    with contextlib.suppress(OSError):
        if _NAMESPACES.read_text().strip() == "0":
            return (
                f"{why}; this host gives no user namespaces: sysctl user.max_user_namespaces=15000, or run it as root"
            )
    with contextlib.suppress(OSError):
        if _APPARMOR.read_text().strip() == "1":
            return (
                f"{why}; AppArmor allows no user namespaces: sysctl {_APPARMOR.name}=0 (in kernel.), or run it as root"
            )
    return f"{why}; this host allows ordinary users no user namespaces: run it as root"
