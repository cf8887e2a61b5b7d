# SPDX-License-Identifier: MIT
"""A lab's graph, as text of 80 columns and as DOT (Graphviz)."""

from __future__ import annotations

from collections.abc import Iterator

from vre.lab.topology import End, Lab, LabLink

_WIDTH = 80


def as_text(lab: Lab) -> str:
    """Return each node with its ports: the address, the far end with its address, and the link's impairments."""
    return "\n".join(line for node in (*lab.model.routers, *lab.hosts) for line in _node(lab, node))


def _node(lab: Lab, node: str) -> Iterator[str]:
    rows = [_row(lab, link, end) for link in lab.links for end in link.ends if end.node == node]
    yield f"{'host' if node in lab.hosts else 'router'} {node}" + ("" if rows else ": no links")
    widths = [max(len(row[i]) for row in rows) for i in range(4)] if rows else []
    for port, near, far, there, rest in rows:
        cells = (port, near, f"-- {far}", there)
        wide = (widths[0], widths[1], widths[2] + 3, widths[3])
        line = "  " + "  ".join(cell.ljust(size) for cell, size in zip(cells, wide, strict=True))
        if rest and len(line) + 2 + len(rest) > _WIDTH:
            yield line.rstrip()
            yield f"      {rest}"
        else:
            yield f"{line}  {rest}".rstrip()


def _row(lab: Lab, link: LabLink, end: End) -> tuple[str, str, str, str, str]:
    far = link.other(end)
    return end.port, address(lab, end), str(far), address(lab, far), options(link)


def address(lab: Lab, end: End) -> str:
    """Return the first address at an end, "-" if there is none."""
    if end.node in lab.hosts:
        return str(next(iter(lab.hosts[end.node].addresses.get(end.port, ())), "-"))
    return str(lab.routers[end.node].get(end.port, "-"))


def options(link: LabLink) -> str:
    """Return what a link's table says of it, in one line."""
    more = {"mtu": link.mtu} if link.mtu != 1500 else {}
    return ", ".join(f"{key} {value}" for key, value in (more | dict(link.options)).items())


def as_dot(lab: Lab) -> str:
    """Return the graph in Graphviz' language."""
    lines = [f"graph {_quoted(lab.name)} {{"]
    lines += [f"  {_quoted(name)} [shape=box];" for name in lab.model.routers]
    lines += [f"  {_quoted(name)} [shape=ellipse];" for name in lab.hosts]
    for link in lab.links:
        near, far = link.ends
        values = {"taillabel": near.port, "headlabel": far.port, "label": options(link)}
        text = ", ".join(f"{key}={_quoted(value)}" for key, value in values.items() if value)
        lines.append(f"  {_quoted(near.node)} -- {_quoted(far.node)} [{text}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
