# SPDX-License-Identifier: MIT
"""Kinds of links out of the platform that use packet sockets: a pair that is made, an interface that is there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from vre.config import model
from vre.links.device import Device
from vre.links.errors import LinkError, refused
from vre.links.ethtool import send_whole_frames
from vre.links.interfaces import Interfaces
from vre.links.namespaces import open_namespace, path_of
from vre.links.netlink import make_veth, make_vxlan
from vre.links.ownership import carries_default_route, claim_interface
from vre.memory.devices import DevicePlan


def named_namespace(name: str | None) -> int:
    """Return a descriptor of the namespace that a user names. Raises LinkError."""
    try:
        return open_namespace(name)
    except PermissionError as error:
        raise refused(error, "namespace", f"opening {path_of(name)}") from None
    except OSError:
        made = f": make it with 'ip netns add {name}'" if "/" not in str(name) else f": {path_of(name)} is none"
        raise LinkError(f"there is no network namespace '{name}'{made}") from None


class VethDevice(Device):
    """A pair of interfaces; the near end is in a namespace that is the platform's alone, and goes with it."""

    def __init__(self, plan: DevicePlan, report: Callable[[str], None], own: int, number: int) -> None:
        super().__init__(plan, report)
        assert isinstance(plan.link, model.Veth)
        self.link, self.namespace, self.near = plan.link, own, f"port{number}"

    def make(self) -> None:
        """Make the pair; both ends are up, and the far one sends whole frames. Raises LinkError."""
        far = self.plan.interface
        namespace = named_namespace(self.link.netns)
        try:
            make_veth(self.namespace, self.near, far, namespace, self.link.mtu)
            send_whole_frames(namespace, far, self.link.offload)
            for end, name in ((self.namespace, self.near), (namespace, far)):
                interfaces = Interfaces(end)
                interfaces.set_up(name)
                interfaces.close()
        except FileExistsError:
            where = f"in network namespace '{self.link.netns}'"
            raise LinkError(f"there is an interface '{far}' {where}: set 'name' to another, or remove it") from None
        except OSError as error:
            raise refused(error, "make", f"making a pair of interfaces into '{self.link.netns}'") from None
        finally:
            os.close(namespace)

    def revive(self) -> None:
        """Make the pair again: it went with the far end's namespace, or was removed there."""
        try:
            self.make()
        except LinkError:
            return


class VxlanDevice(Device):
    """A VXLAN device; it is in a namespace that is the platform's alone, and goes with it."""

    def __init__(self, plan: DevicePlan, report: Callable[[str], None], own: int, number: int) -> None:
        super().__init__(plan, report)
        assert isinstance(plan.link, model.Vxlan)
        self.link, self.namespace, self.near = plan.link, own, f"port{number}"

    def make(self) -> None:
        """Make it. Raises LinkError."""
        link = self.link
        carrier = named_namespace(link.netns)
        try:
            make_vxlan(carrier, self.near, self.namespace, link.remote, link.vni, link.port, link.mtu)
            interfaces = Interfaces(self.namespace)
            interfaces.set_up(self.near)
            interfaces.close()
        except FileExistsError:
            raise LinkError(f"there is a VXLAN device for VNI {link.vni} on UDP port {link.port} already") from None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise LinkError("this kernel has no VXLAN devices ('modprobe vxlan' brings them)") from None
            raise refused(error, "make", f"making a VXLAN device to {link.remote}") from None
        finally:
            os.close(carrier)


class InterfaceDevice(Device):
    """An interface that is there already."""

    def __init__(self, plan: DevicePlan, report: Callable[[str], None]) -> None:
        super().__init__(plan, report)
        link = plan.link
        assert isinstance(link, model.Interface | model.Xdp)
        self.link, self.near = link, link.interface if isinstance(link, model.Interface) else link.xdp

    def make(self) -> None:
        """Claim it. Raises LinkError."""
        name = self.near
        self.namespace = named_namespace(self.link.netns)
        self.opened.callback(os.close, self.namespace)
        try:
            interfaces = Interfaces(self.namespace)
            found = interfaces.find(name)
            interfaces.close()
            if found is None:
                where = f" in network namespace '{self.link.netns}'" if self.link.netns else ""
                raise LinkError(f"there is no interface '{name}'{where}: 'ip link' lists those that there are")
            if not found.up:
                raise LinkError(f"interface '{name}' is down: set it up with 'ip link set {name} up'")
            if carries_default_route(self.namespace, name) and not self.link.force:
                raise LinkError(
                    f"the default route leads through interface '{name}': this host may be reached by it only; "
                    "to use it all the same, set 'force = true' in the link, or run with --force"
                )
            self.opened.enter_context(claim_interface(self.namespace, name))
        except OSError as error:
            raise refused(error, "namespace", f"using interface '{name}'") from None
