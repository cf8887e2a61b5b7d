# SPDX-License-Identifier: MIT
"""The ports between a router and its control plane, one for each of its own ports, and the elements that lead there.

Behind each FromDevice comes a Punt, whose output 1 leads to the control port; what comes from there leaves by the port
untouched. `vre show code` and `vre read ROUTER/control/PORT/punt.punted` show them by name.
"""

from __future__ import annotations

from vre.config.model import ControlLink, Model, Nic, Router, RouterPort
from vre.language.graph import Edge, Graph, Node
from workers.element import load
from workers.elements.punt import own_addresses

#: Frames that may wait on their way to a control plane, and back.
SLOTS = 256


class ControlPort(str):
    """What the port to the control plane of `router`, for its `port`, is called: with a colon, as no other is."""

    __slots__ = ()


def control_port(router: str, port: str) -> ControlPort:
    """Return the name of the port that leads to a control plane."""
    return ControlPort(f"{router}:{port}")


def connect_control(model: Model, router: Router) -> None:
    """Give a router with a control plane the ports and elements that lead there, if it has none yet."""
    graph, control = router.graph, router.control
    if control is None or any(node.name.startswith("control/") for node in graph.nodes):
        return
    registry = load()
    ports = [name for name in router.ports if name in model.nics and not isinstance(name, ControlPort)]
    own = [one for name in ports for one in own_addresses(router.ports[name].addresses)]
    rate = max(1, control.punt_rate // max(1, len(ports)))
    for port in ports:
        receiver = next(
            (i for i, n in enumerate(graph.nodes) if n.cls.driver == "rx" and n.values["devname"] == port), None
        )
        if receiver is None:
            continue
        beyond = control_port(router.name, port)
        model.nics[beyond] = Nic(beyond, (ControlLink(router.name, router.own_name(port)),), SLOTS)
        router.ports[beyond] = RouterPort(beyond, None)
        where = graph.nodes[receiver].where
        for name, cls, text in (
            ("punt", "Punt", f"{', '.join([*own, f'RATE {rate}'])}"),
            ("to", "ToDevice", beyond),
            ("from", "FromDevice", beyond),
            ("out", "ToDevice", port),
            ("copy", "Tee", ""),
        ):
            node = Node(f"control/{router.own_name(port)}/{name}", registry[cls], text, where)
            node.values, errors = node.cls.bind(text)
            assert not errors, errors
            graph.nodes.append(node)
        behind = [edge for edge in graph.edges if edge.source == receiver]
        graph.edges[:] = [edge for edge in graph.edges if edge.source != receiver]
        punt, to, come, out, copy = range(len(graph.nodes) - 5, len(graph.nodes))
        graph.edges += [Edge(at, 0, edge.target, edge.input) for at in (punt, copy) for edge in behind]
        graph.edges += [Edge(receiver, 0, punt, 0), Edge(punt, 2, copy, 0), Edge(come, 0, out, 0)]
        graph.edges += [Edge(at, 1, to, 0) for at in (punt, copy)]
    for node in graph.nodes:
        if node.cls.fib:
            node.values["capacity"] = max(node.values["capacity"], room_for(control.most_routes))
    forget_cached(graph)


def room_for(routes: int) -> int:
    """Return the chunks that so many routes take, as they are in the Internet and inside networks."""
    # At most one for each /16; of prefixes longer than 24 bits there are few, but for a network's own addresses.
    return min(routes, 1 << 16) + min(routes, 4096 + routes // 16)


def forget_cached(graph: Graph) -> None:
    """Forget what was derived from the graph before it was changed."""
    for name in ("tasks", "shape", "groups", "_before"):
        vars(graph).pop(name, None)


def outputs_of(graph: Graph, lookup: int) -> dict[str, int]:
    """Return, by port, the output of a lookup element behind which are only ToDevices of that port.

    Where packets come back to a lookup element, as ICMP errors do, is not looked further.
    """
    following: dict[tuple[int, int], list[int]] = {}
    after: dict[int, list[int]] = {}
    for edge in graph.edges:
        following.setdefault(edge.start, []).append(edge.target)
        after.setdefault(edge.source, []).append(edge.target)
    found: dict[str, int] = {}
    for (element, output), targets in sorted(following.items()):
        if element != lookup:
            continue
        ports, todo, seen = set(), list(targets), set()
        while todo:
            at = todo.pop()
            node = graph.nodes[at]
            if at in seen or node.cls.fib:
                continue
            seen.add(at)
            if node.cls.sends():
                ports.add(node.values["devname"])
            todo += after.get(at, [])
        if len(ports) == 1:
            found.setdefault(ports.pop(), output)
    return found
