# SPDX-License-Identifier: MIT
"""Topologies of other lab tools, as far as they need no images: what is a node, and what connects them.

Nodes and links are taken over, and of commands those that set addresses and routes. A node with one link is a host; one
with several is a router. What is not taken over is said in comments of the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vre.errors import ConfigError, Problem
from vre.lab.containerlab import read_containerlab
from vre.lab.foreign_commands import addresses_in
from vre.lab.foreign_topology import Foreign
from vre.lab.kathara import read_kathara
from workers.files import own, read_text


@dataclass
class _Node:
    """What is written about a node: ports to addresses, networks to gateways, and commands of its own."""

    ports: list[str] = field(default_factory=list)
    addresses: dict[str, list[str]] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)


def translate(file: Path) -> str:
    """Return the topology file for a file of containerlab or Kathará.

    Raises
    ------
    ConfigError
        It cannot be read, or is neither.
    """
    try:
        text = read_text(own(file))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([Problem(None, f"cannot read {file}: {why}")]) from None
    if file.suffix in (".yml", ".yaml"):
        return _write(read_containerlab(text, file), "containerlab")
    if file.suffix == ".conf":
        return _write(read_kathara(text, file), "Kathará")
    what = f"{file} is neither a topology of containerlab (.yml) nor of Kathará (lab.conf)"
    raise ConfigError([Problem(None, what)])


def _write(foreign: Foreign, tool: str) -> str:
    nodes = {name: _Node() for name in foreign.nodes}
    for link in foreign.links:
        for end in link:
            nodes[end[0]].ports.append(end[1])
    for name, node in nodes.items():
        node.addresses, node.routes, node.rest = addresses_in(foreign.nodes[name])
    lines = [f"# From a topology of {tool}."]
    lines += [f"# Not taken over: {note}" for note in foreign.notes]
    lines += ["links = [", *(f'  ["{a[0]}:{a[1]}", "{b[0]}:{b[1]}"],' for a, b in foreign.links), "]"]
    for name, node in nodes.items():
        lines += _router(name, node) if len(node.ports) > 1 else _host(name, node)
    return "\n".join(lines) + "\n"


def _host(name: str, node: _Node) -> list[str]:
    lines = ["", f"[hosts.{name}]"]
    known = [one for port in node.ports for one in node.addresses.get(port, [])]
    if known:
        lines.append(f"address = {_list(known)}")
    gateways = [gateway for network, gateway in node.routes.items() if network in ("default", "0.0.0.0/0", "::/0")]
    if gateways:
        lines.append(f"gateway = {_list(gateways)}")
    others = {n: g for n, g in node.routes.items() if g not in gateways}
    if others:
        lines.append(f"routes = {_table(others)}")
    if node.rest:
        lines.append(f"run = {_list(node.rest)}")
    return lines


def _router(name: str, node: _Node) -> list[str]:
    lines = ["", f"[routers.{name}]"]
    lines += [f"# Not taken over: {command}" for command in node.rest]
    ports = {port: next((one for one in node.addresses.get(port, []) if ":" not in one), "") for port in node.ports}
    if not all(ports.values()):
        lines.append("# Give each port the address that is missing, or the router a config.")
    lines.append(f"ports = {_table({port: address for port, address in ports.items() if address})}")
    if node.routes:
        lines.append(f"routes = {_table(node.routes)}")
    return lines


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _list(texts: list[str]) -> str:
    return _text(texts[0]) if len(texts) == 1 else f"[{', '.join(map(_text, texts))}]"


def _table(values: dict[str, str]) -> str:
    """Return an inline table; keys that are not bare are quoted."""
    bare = {key: key if key.replace("-", "").replace("_", "").isalnum() else _text(key) for key in values}
    inner = ", ".join(f"{bare[key]} = {_text(value)}" for key, value in values.items())
    return f"{{ {inner} }}" if inner else "{}"
