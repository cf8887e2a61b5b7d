# SPDX-License-Identifier: MIT
"""TAP devices: made, or taken if one is there and free. :mod:`workers.wire.tap` receives and sends."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable

from shm.link_layout import TAP
from vre.config import model
from vre.links.device import Device
from vre.links.errors import LinkError, refused
from vre.links.interfaces import Interface, Interfaces
from vre.links.kinds import named_namespace
from vre.links.namespaces import inside
from vre.memory.devices import DevicePlan

_DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETCARRIER = 0x400454CA, 0x400454E2
_IFF_TAP, _IFF_NO_PI = 2, 0x1000


def open_tap(namespace: int, name: str) -> int:
    """Return the descriptor of a plain TAP device, which is made if it is not there. Raises OSError.

    It does not block. A device that is made goes when its last descriptor is closed.
    """

    def work() -> int:
        fd = os.open(_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        except BaseException:
            os.close(fd)
            raise
        return fd

    return inside(namespace, work)


def set_carrier(fd: int, carrier: bool) -> None:
    """Plug a TAP device's cable in, or pull it. Raises OSError."""
    fcntl.ioctl(fd, _TUNSETCARRIER, struct.pack("i", carrier))


class TapDevice(Device):
    """A link that is a TAP device."""

    def __init__(self, plan: DevicePlan, report: Callable[[str], None]) -> None:
        super().__init__(plan, report)
        assert isinstance(plan.link, model.Tap)
        self.link, self.near = plan.link, plan.link.tap
        self._fd = -1

    def make(self) -> None:
        """Make it, with its MTU, and set it up as far as that is permitted. Raises LinkError."""
        name = self.near
        self.namespace = named_namespace(self.link.netns)
        self.opened.callback(os.close, self.namespace)
        try:
            self._fd = open_tap(self.namespace, name)
        except FileNotFoundError:
            raise LinkError(f"this host has no TAP devices: there is no {_DEVICE} ('modprobe tun' brings it)") from None
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise LinkError(f"TAP device '{name}' is in use by another process") from None
            if error.errno == errno.EINVAL:
                raise LinkError(f"interface '{name}' is no TAP device with a single queue") from None
            raise refused(error, "make", f"making TAP device '{name}'") from None
        self.opened.callback(os.close, self._fd)
        interfaces = Interfaces(self.namespace)
        try:
            interfaces.set_mtu(name, self.link.mtu)
            interfaces.set_up(name)
        except PermissionError:
            pass  # it was made for this user, who may use it and not set it
        except OSError as error:
            raise refused(error, "set", f"setting TAP device '{name}' up") from None
        finally:
            interfaces.close()

    def _open_sockets(self, found: Interface) -> None:
        record = self.record
        record["rx"], record["tx"], record["rx_fd"], record["tx_fd"] = TAP, TAP, self._fd, self._fd
        self.descriptors.append(self._fd)
        self._index = found.index

    def _open_xdp(self, found: Interface, wanted: bool) -> None:
        """There is none: the device is its own socket."""

    def _return(self, found: Interface) -> None:
        """Another device of the same name is not this one. Raises OSError."""
        raise OSError(errno.EBADFD, os.strerror(errno.EBADFD))
