# SPDX-License-Identifier: MIT
"""One open link out of the platform: an interface, and the sockets by which the wire receives and sends.

The descriptors are this process's own: they outlive each wire, and go with the platform, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

from shm.intrinsics import add64, load64, store64
from shm.link_layout import DEVICE, DOWN, GONE, PACKET_RING, PLACE, PLACES, QUEUE, UP, XDP_RING
from shm.manifest import MappingEntry
from vre.links.errors import LinkError, refused
from vre.links.filters import attach, only, without
from vre.links.interfaces import Interface, Interfaces
from vre.links.packet_socket import bind, open_receiver, open_sender, overrun
from vre.links.xdp_socket import COMPLETION_RING, TX_RING, XdpSocket
from vre.memory.address_space import view
from vre.memory.devices import SHORT_FRAME, DevicePlan
from workers.datapath.headers import ETHER_SIZE, VLAN_TAG_SIZE

#: What the kernel puts in front of a frame in a ring: its own headers, and room for a VLAN tag.
_RING_HEADERS = 112


class Device:
    """A link whose frames go through packet sockets of interface `near` in `namespace`.

    Parameters
    ----------
    plan : DevicePlan
        Its memory, which exists.
    report : callable
        Told of events.

    Attributes
    ----------
    opened : contextlib.ExitStack
        Closes all that is open.
    """

    def __init__(self, plan: DevicePlan, report: Callable[[str], None]) -> None:
        self.plan, self._report = plan, report
        self.opened = contextlib.ExitStack()
        self.near = ""
        self.namespace = -1
        self._index = 0
        self._sender: socket.socket | None = None
        self._receivers: list[socket.socket] = []
        self._xdp: XdpSocket | None = None
        self._said = UP
        self.descriptors: list[int] = []

    @property
    def record(self) -> Any:
        """Its DEVICE record."""
        return view(self.plan.address, DEVICE.dtype)[0]

    def say(self, text: str) -> None:
        """Report an event."""
        self._report(f"port {self.plan.nic.name}: {text}")

    # To be defined by each kind of link.

    def make(self) -> None:
        """Make or find the interface: `near` in `namespace`. Raises LinkError."""
        raise NotImplementedError

    def revive(self) -> None:
        """Make the interface again, which has gone, if this link is what made it."""

    # Life.

    def open(self, send: str = "auto") -> None:
        """Open it; `send` says how frames leave: "xdp", "messages", or what there is. Raises LinkError."""
        self.make()
        self._interfaces = Interfaces(self.namespace)
        self.opened.callback(self._interfaces.close)
        found = self._interfaces.find(self.near)
        if found is None:
            raise LinkError(f"there is no interface '{self.near}'")
        self._fit(found)
        try:
            self._open_sockets(found)
        except OSError as error:
            raise refused(error, "packet", "a packet socket") from None
        if send != "messages" and not self.plan.offload:
            self._open_xdp(found, send == "xdp")

    def close(self) -> None:
        """Close all that is open."""
        self.opened.close()

    def _fit(self, found: Interface) -> None:
        self.record["longest"] = found.mtu + ETHER_SIZE + VLAN_TAG_SIZE

    def _open_sockets(self, found: Interface) -> None:
        plan, record = self.plan, self.record
        short = found.mtu + _RING_HEADERS <= SHORT_FRAME and not plan.offload
        frame_size = SHORT_FRAME if short else plan.longest_frame
        for queue in plan.queues:
            receiver = self.opened.enter_context(open_receiver(self.namespace, plan.frames, frame_size))
            others = [other.claim for other in plan.queues if other.router]
            attach(receiver, only(queue.claim) if queue.router else without(others))
            at = view(queue.address, QUEUE.dtype)[0]
            at["fd"], at["frame_size"] = receiver.fileno(), frame_size
            plan.mappings.append(MappingEntry(queue.ring, plan.frames * frame_size, receiver.fileno(), 0))
            self._receivers.append(receiver)
        self._sender = self.opened.enter_context(open_sender(self.namespace, plan.offload))
        self._bind(found)
        record["rx"], record["rx_fd"] = PACKET_RING, self._receivers[0].fileno()
        record["tx"], record["tx_fd"] = plan.sends, self._sender.fileno()
        self.descriptors += [made.fileno() for made in (*self._receivers, self._sender)]

    def _open_xdp(self, found: Interface, wanted: bool) -> None:
        plan = self.plan
        try:
            xdp = XdpSocket(self.namespace, plan.chunks)
            self.opened.callback(xdp.socket.close)
            xdp.bind(found.index)
        except OSError as error:
            why = f"AF_XDP is refused ({os.strerror(error.errno or 0)})"
            if wanted:
                raise LinkError(f"{why}; leave out 'send', or set it to \"messages\"") from None
            self.say(f"{why}: frames are sent with sendmmsg")
            return
        self._send_by(xdp)

    def _send_by(self, xdp: XdpSocket) -> None:
        """Let frames leave by an AF_XDP socket that is bound."""
        plan, record = self.plan, self.record
        fd = xdp.socket.fileno()
        record["producer"], record["consumer"] = plan.tx_ring + xdp.tx.producer, plan.tx_ring + xdp.tx.consumer
        record["descriptors"] = plan.tx_ring + xdp.tx.entries
        record["completion_producer"] = plan.completion_ring + xdp.completion.producer
        record["completion_consumer"] = plan.completion_ring + xdp.completion.consumer
        record["completions"] = plan.completion_ring + xdp.completion.entries
        record["tx"], record["tx_fd"] = XDP_RING, fd
        # A mapping may not be longer than its ring.
        plan.mappings.append(MappingEntry(plan.tx_ring, xdp.tx.entries + PLACES * 16, fd, TX_RING))
        size = xdp.completion.entries + PLACES * 8
        plan.mappings.append(MappingEntry(plan.completion_ring, size, fd, COMPLETION_RING))
        self.descriptors.append(fd)
        self._xdp = xdp

    def _bind(self, found: Interface) -> None:
        assert self._sender
        for receiver in self._receivers:
            bind(receiver, self.near, found.index, True)
        bind(self._sender, self.near, found.index, False)
        self._index = found.index

    # While it runs.

    def look(self) -> None:
        """See how the interface is, and count what its ring had no room for."""
        record = self.plan.address
        if self._receivers:
            # The wire asks the others: what they had no room for is their routers'.
            add64(record + DEVICE["overrun"], overrun(self._receivers[0]))
        found = self._interfaces.find(self.near)
        if found is None:
            self._become(GONE)
            self.revive()
            return
        if found.index != self._index:
            try:
                self._return(found)
            except OSError:
                return  # it has gone again, or may not be used yet
        if load64(record + DEVICE["longest"]) != found.mtu + ETHER_SIZE + VLAN_TAG_SIZE:
            self._fit(found)
            self.say(f"the MTU of interface '{self.plan.interface}' is {found.mtu} now")
        self._become(UP if found.runs else DOWN)

    def _return(self, found: Interface) -> None:
        """Go on with an interface that is another one of the same name. Raises OSError."""
        self._bind(found)
        record = self.plan.address
        if load64(record + DEVICE["tx"]) == XDP_RING:
            # An AF_XDP socket is bound once, and the wire has no other's descriptor.
            assert self._sender
            store64(record + DEVICE["tx_fd"], self._sender.fileno())
            store64(record + DEVICE["tx"], self.plan.sends)
            for i in range(PLACES):
                store64(self.plan.places + i * PLACE.size + PLACE["busy"], 0)

    def _become(self, state: int) -> None:
        if state == self._said:
            return
        name, self._said = self.plan.interface, state
        store64(self.plan.address + DEVICE["state"], state)
        if state == UP:
            self.say(f"interface '{name}' is up again")
        else:
            what = "is gone" if state == GONE else "is down"
            self.say(f"interface '{name}' {what}: what is sent there is dropped as link_down until it is back")
