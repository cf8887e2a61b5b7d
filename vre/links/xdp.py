# SPDX-License-Identifier: MIT
"""A link whose frames come and go by AF_XDP: an XDP program takes them before the system's own stack."""

from __future__ import annotations

import errno
import os

from shm.link_layout import CHUNK, XDP_FRAMES, XDP_RING
from shm.manifest import MappingEntry
from vre.config import model
from vre.links.errors import LinkError, refused
from vre.links.ethtool import receive_queues
from vre.links.interfaces import Interface
from vre.links.kinds import InterfaceDevice
from vre.links.xdp_program import attach_program
from vre.links.xdp_socket import FILL_RING, RX_RING, XdpSocket
from workers.datapath.headers import ETHER_SIZE, VLAN_TAG_SIZE

#: What the kernel keeps in front of a frame in its chunk.
_HEADROOM = 256


class XdpDevice(InterfaceDevice):
    """An interface that is there already, by AF_XDP both ways."""

    def _open_sockets(self, found: Interface) -> None:
        plan, record, link = self.plan, self.record, self.link
        assert isinstance(link, model.Xdp)
        self._check(found)
        try:
            xdp = XdpSocket(self.namespace, plan.chunks, receives=True)
            self.opened.callback(xdp.socket.close)
            xdp.bind(found.index)
        except OSError as error:
            raise refused(error, "packet", "an AF_XDP socket") from None
        try:
            made = attach_program(self.namespace, found.index, xdp.socket.fileno(), link.mode)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise LinkError(f"interface '{self.near}' has an XDP program already") from None
            raise refused(error, "program", "an XDP program") from None
        for fd in made:
            self.opened.callback(os.close, fd)
        record["rx_producer"], record["rx_consumer"] = plan.rx_ring + xdp.rx.producer, plan.rx_ring + xdp.rx.consumer
        record["rx_descriptors"], record["rx_mask"] = plan.rx_ring + xdp.rx.entries, XDP_FRAMES - 1
        record["fill_producer"] = plan.fill_ring + xdp.fill.producer
        record["fill_entries"] = plan.fill_ring + xdp.fill.entries
        fd = xdp.socket.fileno()
        record["rx"], record["rx_fd"] = XDP_RING, fd
        plan.mappings.append(MappingEntry(plan.rx_ring, xdp.rx.entries + XDP_FRAMES * 16, fd, RX_RING))
        plan.mappings.append(MappingEntry(plan.fill_ring, xdp.fill.entries + XDP_FRAMES * 8, fd, FILL_RING))
        self._send_by(xdp)
        self._index = found.index

    def _check(self, found: Interface) -> None:
        """Raise LinkError if frames would be cut, or would come by queues that the socket has not."""
        most, queues = CHUNK - _HEADROOM - ETHER_SIZE - VLAN_TAG_SIZE, receive_queues(self.namespace, self.near)
        if found.mtu > most:
            raise LinkError(f"the MTU of '{self.near}' is {found.mtu}: set it to {most} at most, or use 'interface'")
        if queues > 1:
            raise LinkError(
                f"'{self.near}' spreads what it receives over {queues} queues: set it to one, with "
                f"'ethtool -L {self.near} combined 1' or 'rx 1', or use 'interface'"
            )

    def _open_xdp(self, found: Interface, wanted: bool) -> None:
        """It is open already."""

    def _return(self, found: Interface) -> None:
        """An AF_XDP socket is bound once. Raises OSError."""
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
