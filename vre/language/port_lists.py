# SPDX-License-Identifier: MIT
"""Which ports the two sides of an arrow have, and which a compound's body uses."""

from __future__ import annotations

from vre.language.tree import Endpoint, Ports, Scope


def spread(
    ends: list[Endpoint], side: str, others: list[Endpoint], other_side: str, arrow: str
) -> list[tuple[Endpoint, int]]:
    """Return (endpoint, port) pairs for one side of an arrow."""
    opposite = sum(_own_ports(end, other_side) for end in others)
    if arrow == "=>" and len(ends) == 1 and getattr(ends[0], side) is None:
        # A group knows how many ports it has; any other element has as many as the other side asks for.
        return [(ends[0], port) for port in range(max(opposite, _own_ports(ends[0], side)))]
    pairs: list[tuple[Endpoint, int]] = []
    for end in ends:
        ports = getattr(end, side) or Ports([0])
        numbers = list(ports.numbers)
        if ports.rest is not None:
            missing = opposite - len(pairs) - len(numbers)
            numbers += range(ports.rest, ports.rest + max(0, missing))
        pairs += [(end, number) for number in numbers]
    return pairs


def _own_ports(end: Endpoint, side: str) -> int:
    """Return how many ports an endpoint brings by itself."""
    ports: Ports | None = getattr(end, side)
    if ports is None and end.ref.group == "group":
        return max(1, end.ref.group_ports[side == "outputs"])
    return len(ports.numbers) if ports else 1


def boundary_ports(scope: Scope) -> tuple[int, int]:
    """Return how many inputs and outputs a compound's body uses."""
    top = [0, 0]
    for connection in scope.connections:
        for ends, name, side, attribute in (
            (connection.left, "input", 0, "outputs"),
            (connection.right, "output", 1, "inputs"),
        ):
            for end in ends:
                if end.ref.name == name and not end.ref.group:
                    ports: Ports | None = getattr(end, attribute)
                    top[side] = max(top[side], max(ports.numbers, default=0) + 1 if ports else 1)
    return top[0], top[1]


def count_ports(scope: Scope) -> dict[str, list[int]]:
    """Return how many inputs and outputs of each mention are used: overloads are chosen by them."""
    used: dict[str, list[int]] = {}
    for c in scope.connections:
        for pairs, side in (
            (spread(c.left, "outputs", c.right, "inputs", c.arrow), 1),
            (spread(c.right, "inputs", c.left, "outputs", c.arrow), 0),
        ):
            for end, port in pairs:
                counts = used.setdefault(end.ref.key, [0, 0])
                counts[side] = max(counts[side], port + 1)
    return used


def signature(scope: Scope) -> str:
    """Return what a compound's body takes, in words."""
    formals = ", ".join(f"{k} ${v}".strip() for k, v in scope.formals) or "no arguments"
    inputs, outputs = boundary_ports(scope)
    return f"({formals}) with {inputs} input(s) and {outputs} output(s)"
