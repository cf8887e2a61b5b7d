# SPDX-License-Identifier: MIT
"""Why a link out of the platform cannot be."""

from __future__ import annotations

import errno
import os

_NEEDS = {
    "namespace": "CAP_SYS_ADMIN (to enter network namespaces)",
    "make": "CAP_NET_ADMIN (to make an interface)",
    "set": "CAP_NET_ADMIN (to set an interface)",
    "program": "CAP_BPF and CAP_NET_ADMIN (for an XDP program; 'interface' in place of 'xdp' needs none)",
    "packet": "CAP_NET_RAW (for packet sockets)",
}
_WITHOUT = (
    "run vre as root, or in namespaces of your own with 'unshare -Urnm'; without it a port can have a generator, a "
    "capture, a cable, or a TAP that was made for you with 'ip tuntap add NAME mode tap user USER'"
)


class LinkError(Exception):
    """A link out of the platform cannot be; the message has a remedy."""


def refused(error: OSError, doing: str, what: str) -> LinkError:
    """Return what to say about a refusal of the operating system while `doing` something, a key of what that needs."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return LinkError(f"{what} is not permitted: it needs {_NEEDS[doing]}; {_WITHOUT}")
    return LinkError(f"{what} failed: {os.strerror(error.errno or 0)}")
