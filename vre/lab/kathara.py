# SPDX-License-Identifier: MIT
"""Network scenarios of Kathará and Netkit: lab.conf, and the startup files beside it.

`pc1[0]="A"` connects interface eth0 of pc1 to collision domain A. A domain of two interfaces is a link.
"""

from __future__ import annotations

import re
from pathlib import Path

from vre.errors import ConfigError, Problem, Where
from vre.lab.foreign_topology import Foreign, ForeignEnd, node_name
from workers.files import place, read_text

_LINE = re.compile(
    r"""\s*(?P<device>[\w-]+)\[(?P<key>[\w-]+)\]\s*=\s*(?P<quote>["']?)(?P<value>[^"'#]*)(?P=quote)\s*(#.*)?"""
)
_LAB = re.compile(r"LAB_\w+=.*")


def read_kathara(text: str, file: Path) -> Foreign:
    """Return the nodes and links of a scenario. Raises ConfigError."""
    found, domains = Foreign(), dict[str, list[ForeignEnd]]()
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#") or _LAB.fullmatch(stripped):
            continue
        entry = _LINE.fullmatch(line)
        if entry is None:
            what = 'must be DEVICE[NUMBER]="DOMAIN" or DEVICE[OPTION]="VALUE"'
            problems.append(Problem(Where(str(file), number, len(line) - len(line.lstrip()) + 1), what, line))
            continue
        device, key, value = node_name(entry["device"]), entry["key"], entry["value"].strip()
        found.nodes.setdefault(device, _startup(file, entry["device"]))
        if key.isdecimal():
            domains.setdefault(value.split("/")[0], []).append((device, f"eth{key}"))
        else:
            found.notes.append(f"{device}: {key} = {value}")
    if problems:
        raise ConfigError(problems)
    for name, ends in domains.items():
        if len(ends) == 2:
            found.links.append((ends[0], ends[1]))
        else:
            found.notes.append(f"domain {name} of {len(ends)} interfaces ({', '.join(':'.join(end) for end in ends)})")
    return found


def _startup(file: Path, device: str) -> list[str]:
    """Return the commands of a device's startup file, if there is one."""
    try:
        text = read_text(place(f"{device}.startup", file.parent))
    except OSError:
        return []
    return [line.strip() for line in text.split("\n") if line.strip() and not line.strip().startswith("#")]
