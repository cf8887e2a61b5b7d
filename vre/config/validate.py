# SPDX-License-Identifier: MIT
"""Errors between the parts of a model, each of which is correct by itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from shm.layout import CLIENTS
from shm.run_directory import why_no_name
from vre.config.captures import clashes
from vre.config.control_ports import ControlPort, connect_control
from vre.config.fields import LONGEST_INTERFACE, Percent
from vre.config.limits import misfits
from vre.config.machines import MACHINES
from vre.config.model import (
    Cable,
    Capture,
    Generator,
    Interface,
    Model,
    Replay,
    RouterPort,
    Sink,
    Tap,
    Veth,
    World,
    Xdp,
)
from vre.errors import Problem, nearest
from workers.arguments import show_ether

#: Longest name of a port or a router: it becomes part of the names of segments, control groups and files.
LONGEST_NAME = 64
_NAME_CHARS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
#: Ports of a platform: their numbers are in annotations of 16 bits, and each has rings for each core.
_NICS = 256


def complete(model: Model) -> None:
    """Complete a model: ports named only in graphs, and MAC addresses."""
    for router in model.routers.values():
        if router.direct and router.hosted_graph and model.clock == "virtual":
            # No untrusted code may run in this process. The machine's model is of directly mapped rings, as in dom0.
            router.graph, router.hosted_graph, router.direct = router.hosted_graph, None, False
            router.cores = router.cores if router.domu.core is None else (router.domu.core,)
        for node in router.graph.nodes:
            if node.cls.is_port and node.values["devname"] in model.nics:
                router.ports.setdefault(node.values["devname"], RouterPort(node.values["devname"], -1))
    _give_addresses(model)
    for router in model.routers.values():
        connect_control(model, router)


def _give_addresses(model: Model) -> None:
    """Give ports that have none a MAC: locally administered (IEEE 802), "V", then a number that is free."""
    ports = [port for router in model.routers.values() for port in router.ports.values()]
    taken = {port.mac for port in ports}
    for number, port in enumerate(ports, 1):
        if port.mac == -1:
            port.mac = next(mac for mac in count(0x02_56_00_00_00_00 | number) if mac not in taken)
            port.automatic = True
            taken.add(port.mac)


Place = Callable[..., Problem]


def validate(model: Model, problem: Place) -> list[Problem]:
    """Complete a model and return the errors between its parts.

    Parameters
    ----------
    model : Model
    problem : callable
        `(message, *path)` to a Problem with its position.
    """
    complete(model)
    found: list[Problem] = []
    if why := why_no_name(model.name):
        found.append(Problem(None, why))
    for kind, names in (("nics", model.nics), ("routers", model.routers)):
        for name in names:
            if isinstance(name, ControlPort):
                continue
            if not isinstance(name, str) or not name or not set(name) <= _NAME_CHARS:
                found.append(problem(f"'{name}' is not a name: letters, digits, _ and - only", kind, str(name)))
            elif len(name) > LONGEST_NAME:
                found.append(problem(f"'{name}' is no name: it has more than {LONGEST_NAME} characters", kind, name))
    for kind, size, most in (("nics", len(model.nics), _NICS), ("routers", len(model.routers), CLIENTS - 1)):
        if size > most:
            found.append(problem(f"there are {size} {kind}; at most {most}", kind))
    wrong = misfits(model, problem)
    if wrong:
        return found + wrong  # what follows looks up what these are
    found += _check_devices(model, problem)
    found += _check_claims(model, problem)
    found += _check_links(model, problem)
    found += _check_interfaces(model, problem)
    found += _check_machine(model, problem)
    found += _check_entitlements(model, problem)
    found += _check_pins(model, problem)
    found += _check_control(model, problem)
    return found


def _check_control(model: Model, problem: Place) -> list[Problem]:
    found = []
    for router in model.routers.values():
        path = ("routers", router.name, "domu", "control")
        if router.control is None:
            addressed = [nic for nic, port in router.ports.items() if port.addresses]
            for nic in addressed:
                message = f"address: router '{router.name}' has no control plane that would use it"
                found.append(problem(message, "routers", router.name, "ports", nic, "address"))
            continue
        if model.clock == "virtual":
            found.append(problem('a control plane needs real time: no clock = "virtual"', *path))
        if router.hosted_graph:
            found.append(problem("a router whose graph runs in its domU can have no control plane", *path))
        for name in (router.own_name(nic) for nic in router.ports if not isinstance(nic, ControlPort)):
            if len(name) > LONGEST_INTERFACE:
                message = f"the name '{name}' is too long for an interface: at most {LONGEST_INTERFACE} characters"
                found.append(problem(message, "routers", router.name, "ports", name))
        if not router.hosted_graph and not any(node.cls.fib for node in router.graph.nodes):
            message = f"router '{router.name}' has no element for its routes, as RadixIPLookup"
            found.append(problem(message, *path))
    return found


def _check_machine(model: Model, problem: Place) -> list[Problem]:
    machine, found = MACHINES[model.machine], []
    if machine.cores and model.cores > machine.cores:
        message = f"machine '{machine.name}' has {machine.cores} cores, not {model.cores}"
        found.append(problem(message, "platform", "cores"))
    if machine.hz and model.clock != "virtual":
        message = f"""machine '{machine.name}' is modelled: it needs clock = "virtual\""""
        found.append(problem(message, "platform", "clock"))
    if model.clock == "virtual" and not machine.hz:
        message = """clock = "virtual" needs a machine that is modelled: machine = "dell2950\""""
        found.append(problem(message, "platform", "clock"))
    return found


def _check_entitlements(model: Model, problem: Place) -> list[Problem]:
    found, shares = [], 0.0
    percent = [r for r in model.routers.values() if isinstance(r.entitlement, Percent)]
    for router in model.routers.values():
        path = ("routers", router.name, "entitlement")
        if percent and router not in percent:
            found.append(
                problem(f"'{percent[0].name}' has a share in percent, so '{router.name}' needs one too", *path)
            )
    for router in percent:
        shares += router.entitlement
        if shares > 100 + 1e-9:
            message = f"entitlements add up to more than 100 %: {shares:g} % with '{router.name}'"
            found.append(problem(message, "routers", router.name, "entitlement"))
            break
    return found


def _check_pins(model: Model, problem: Place) -> list[Problem]:
    found = []
    for router in model.routers.values():
        domu = router.domu.core
        if domu is not None and domu >= model.cores:
            message = f"there is no core {domu}: the platform has {model.cores}, from 0"
            found.append(problem(message, "routers", router.name, "domu", "core"))
        for core in router.cores or ():
            if core >= model.cores:
                message = f"there is no core {core}: the platform has {model.cores}, from 0"
                found.append(problem(message, "routers", router.name, "cores"))
        drivers = {router.graph.task_name(t) for t in range(len(router.graph.tasks))}
        for node in router.graph.nodes:
            if node.cls.__name__ not in ("StaticThreadSched", "ScheduleInfo"):
                continue
            for name, number in node.values.get("element", ()):
                message = ""
                if name not in drivers:
                    message = f"no task is driven by '{name}'{nearest(name, drivers)}"
                elif node.cls.__name__ == "StaticThreadSched" and number >= model.cores:
                    message = f"there is no core {number}: the platform has {model.cores}, from 0"
                if message:
                    found.append(node.problem(f"'{node.name}': {message}"))
    return found


def _check_devices(model: Model, problem: Place) -> list[Problem]:
    found = []
    for router in model.routers.values():
        path = ("routers", router.name, "config")
        receivers: dict[str, str] = {}
        for node in router.graph.nodes:
            if not node.cls.is_port:
                continue
            device = node.values["devname"]
            if device not in model.nics:
                known = router.names or model.nics
                hint = nearest(device, known) or f"; there are {', '.join(known) or 'none'}"
                found.append(node.problem(f"'{node.name}': there is no port '{device}'{hint}"))
            elif node.cls.driver == "rx" and device in receivers:
                found.append(
                    node.problem(
                        f"port '{device}' is used twice: '{receivers[device]}' and '{node.name}' both receive from it"
                    )
                )
            elif node.cls.driver == "rx":
                receivers[device] = node.name
        found += [
            problem(f"there is no port '{nic}'{nearest(nic, model.nics)}", "routers", router.name, "ports", nic)
            for nic in router.ports
            if nic not in model.nics
        ]
        if not router.graph.tasks:
            found.append(problem(f"router '{router.name}' has nothing to run: no FromDevice, no source", *path))
    return found


def _check_claims(model: Model, problem: Place) -> list[Problem]:
    found = []
    claims: dict[tuple[str, int | None, int], str] = {}
    for router in model.routers.values():
        for port in router.ports.values():
            key = (port.nic, port.mac, port.vlan)
            other = claims.setdefault(key, router.name)
            if other != router.name:
                what = "all frames that no other claims" if port.mac is None else f"MAC {show_ether(port.mac)}"
                vlan = f" on VLAN {port.vlan}" if port.vlan >= 0 else ""
                found.append(
                    problem(
                        f"routers '{other}' and '{router.name}' both claim {what}{vlan} on port '{port.nic}'",
                        "routers",
                        router.name,
                        "ports",
                        port.nic,
                    )
                )
    return found


def _check_links(model: Model, problem: Place) -> list[Problem]:
    found = [problem(message, "nics", name, "link") for name, message in clashes(model)]
    for nic in model.nics.values():
        senders = [one for one in nic.links if isinstance(one, Generator | Replay | World)]
        takers = [one for one in nic.links if isinstance(one, Capture | Cable | Sink)]
        # A capture beside a link out of the platform writes what the port sends there.
        both_ways = [one for one in nic.links if isinstance(one, World) or not isinstance(one, Capture)]
        if len(senders) > 1 or len(takers) > 1 or (nic.world and len(both_ways) > 1):
            found.append(problem(f"port '{nic.name}' has two links the same way", "nics", nic.name, "link"))
        if nic.world and model.clock == "virtual":
            message = f"port '{nic.name}' leads out of the platform, which cannot be in virtual time: the world is not"
            found.append(problem(message, "nics", nic.name, "link"))
        found += [
            problem(f"there is no port '{one.to}'{nearest(one.to, model.nics)}", "nics", nic.name, "link", "to")
            for one in takers
            if isinstance(one, Cable) and one.to not in model.nics
        ]
    return found


def _check_interfaces(model: Model, problem: Place) -> list[Problem]:
    """Return what is wrong between ports that lead out: an interface can be that of one port only."""
    found, taken = [], dict[tuple[str | None, str], str]()
    for nic in model.nics.values():
        match nic.world:
            case Interface(name, netns) | Xdp(name, netns) | Tap(name, netns) | Veth(netns, str(name)):
                pass
            case Veth(netns):
                name = nic.name[:LONGEST_INTERFACE]
            case _:
                continue
        other = taken.setdefault((netns, name), nic.name)
        if other != nic.name:
            message = f"ports '{other}' and '{nic.name}' both lead to interface '{name}': give each its own"
            found.append(problem(message, "nics", nic.name, "link"))
    return found
