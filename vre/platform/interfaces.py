# SPDX-License-Identifier: MIT
"""The account of each interface at the far end of a port, read from shared memory."""

from __future__ import annotations

import errno
from typing import Any

from shm.intrinsics import load64
from shm.link_layout import DEVICE, DOWN, GONE, MESSAGES, SUPER_FRAMES, TAP, UP, XDP_RING
from shm.manifest import Manifest

_STATES = {UP: "up", DOWN: "down", GONE: "gone"}
_SENDERS = {XDP_RING: "AF_XDP", MESSAGES: "sendmmsg", TAP: "write", SUPER_FRAMES: "sendto, merged"}


def rows(manifest: Manifest) -> list[dict[str, Any]]:
    """Return a row for each interface.

    `received` frames came, `unclaimed` of them for no router; `overrun` found no room in the ring that routers share;
    as many `super-frames` were cut into some of them.
    `waiting` have been taken from TX rings, and are not sent yet; `refusal` is the last error while there is one.
    """
    found = []
    for device in manifest.wire.devices:
        at = device.address
        error = load64(at + DEVICE["error"])
        found.append(
            {
                "port": device.nic,
                "link": device.kind,
                "interface": device.name,
                "state": _STATES[load64(at + DEVICE["state"])],
                "sends by": _SENDERS[load64(at + DEVICE["tx"])],
                "received": load64(at + DEVICE["received"]),
                "unclaimed": load64(at + DEVICE["unclaimed"]),
                "overrun": load64(at + DEVICE["overrun"]),
                "super-frames": load64(at + DEVICE["cut"]),
                "checksums completed": load64(at + DEVICE["completed"]),
                "waiting": load64(at + DEVICE["filled"]) - load64(at + DEVICE["settled"]),
                "refusals": load64(at + DEVICE["refusals"]),
                "refusal": errno.errorcode.get(error, "-"),
            }
        )
    return found
