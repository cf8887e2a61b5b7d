# SPDX-License-Identifier: MIT
"""Namespaces by way of bubblewrap, for hosts where only certain programs may have them for ordinary users.

bubblewrap makes them, with a process in them that does nothing; they are this user's, so the user's processes may
enter.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess

from workers.sandbox.jail import JailError

#: The mounts last: until then the others are found in /proc.
_KINDS = ("user", "ipc", "uts", "net", "pid", "mnt")
_OPTIONS = ("--unshare-all", "--die-with-parent", "--bind", "/", "/", "--info-fd")
_libc = ctypes.CDLL(None, use_errno=True)


def join_namespaces() -> subprocess.Popen[bytes]:
    """Enter new namespaces, the PID namespace with the next child. Keep the returned process alive while they are used.

    It ends with this process, or when it is no longer referred to. Raises JailError.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise JailError("no namespaces for ordinary users, and no bubblewrap to have them from")
    told, tell = os.pipe()
    # It holds the namespaces: says that they are made, and waits for what this process never writes.
    holder = subprocess.Popen(
        [program, *_OPTIONS, str(tell), "sh", "-c", "echo made; exec cat"],
        pass_fds=[tell],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    os.close(tell)
    assert holder.stdout
    made = holder.stdout.readline() == b"made\n"
    found = re.search(rb'"child-pid": *(\d+)', os.read(told, 4096))
    os.close(told)
    if not made or found is None:
        raise JailError(f"bubblewrap makes no namespaces: status {holder.wait()}")
    try:
        for fd in [os.open(f"/proc/{int(found[1])}/ns/{kind}", os.O_RDONLY) for kind in _KINDS]:
            if _libc.setns(fd, 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            os.close(fd)
    except OSError as error:
        raise JailError(f"the namespaces of bubblewrap cannot be entered: {error}") from None
    return holder
