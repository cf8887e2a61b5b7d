# SPDX-License-Identifier: MIT
"""Topologies of containerlab: YAML with `topology.nodes` and `topology.links`.

Links in its brief format (`endpoints: ["a:eth1", "b:eth1"]`) and veth links in its extended one are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vre.errors import ConfigError, Problem
from vre.lab.foreign_topology import Foreign, ForeignEnd, mistake, node_name, one_line

#: Endpoints that are not nodes but the machine's own.
_SPECIAL = ("host", "mgmt-net", "macvlan", "dummy", "vxlan", "vxlan-stitch")
#: Kinds without an image of a network operating system.
_PLAIN = ("linux", "host", "bridge", "ovs-bridge", "")


def read_containerlab(text: str, file: Path) -> Foreign:
    """Return the nodes and links of a topology. Raises ConfigError."""
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        lines = text.split("\n")
        raise mistake(file, line, column, f"not YAML: {error.problem}", lines[line - 1]) from None
    except yaml.YAMLError as error:
        raise ConfigError([Problem(None, f"{file} is not YAML: {error}")]) from None
    topology = data.get("topology") if isinstance(data, dict) else None
    if not isinstance(topology, dict) or not isinstance(topology.get("nodes"), dict):
        raise ConfigError([Problem(None, f"{file} is no topology of containerlab: it has no 'topology.nodes'")])
    found = Foreign()
    defaults = topology.get("defaults") or {}
    for name, node in topology["nodes"].items():
        _read_node(found, str(name), {**(defaults if isinstance(defaults, dict) else {}), **(node or {})})
    links = topology.get("links") or []
    for number, link in enumerate(links if isinstance(links, list) else []):
        ends = _ends(link)
        if ends is None:
            found.notes.append(f"link {number + 1}: {one_line([str(link)])}")
        elif any(node not in found.nodes for node, _ in ends):
            found.notes.append(f"link {number + 1}: {' -- '.join(':'.join(end) for end in ends)}")
        else:
            found.links.append(ends)
    return found


def _read_node(found: Foreign, name: str, node: dict[str, Any]) -> None:
    kind = str(node.get("kind", ""))
    if kind in ("bridge", "ovs-bridge"):
        found.notes.append(f"{name}: a {kind}; links here have two ends")
        return
    if kind not in _PLAIN:
        found.notes.append(f"{name}: the image of its kind, {kind}")
    elif node.get("image"):
        found.notes.append(f"{name}: its image, {one_line([str(node['image'])])}")
    commands = node.get("exec") or []
    found.nodes[node_name(name)] = [str(one) for one in commands] if isinstance(commands, list) else []


def _ends(link: Any) -> tuple[ForeignEnd, ForeignEnd] | None:
    """Return the two ends of a link, None if it is not one between nodes."""
    given = link.get("endpoints") if isinstance(link, dict) and link.get("type", "veth") == "veth" else None
    if not isinstance(given, list) or len(given) != 2:
        return None
    ends: list[ForeignEnd] = []
    for one in given:
        if isinstance(one, dict) and "node" in one and "interface" in one:
            ends.append((node_name(str(one["node"])), str(one["interface"])))
        elif isinstance(one, str) and one.count(":") == 1 and one.split(":")[0] not in _SPECIAL:
            node, port = one.split(":")
            ends.append((node_name(node), port))
    return (ends[0], ends[1]) if len(ends) == 2 else None
