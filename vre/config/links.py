# SPDX-License-Identifier: MIT
"""Link tables of a platform file: what is at the far end of a port.

A table has the key that names its kind, as in `{ pcap = "web.pcap" }`, or describes a generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vre.config import fields
from vre.config.model import Cable, Capture, Generator, Interface, Link, Model, Replay, Sink, Tap, Veth, Vxlan, Xdp
from vre.config.tables import Tables
from workers.files import place
from workers.wire.capture_reader import CaptureError, Findings, read_records
from workers.wire.traffic import MOST_FLOWS

#: Key to a function that returns the value or raises ValueError.
Kinds = dict[str, Callable[[Any], Any]]
#: How frames leave by an interface.
_SENDING: Kinds = {"send": fields.sending, "offload": fields.boolean}
#: Links of a port that are read: it has one each way.
_LINKS = 16


def read_links(tables: Tables, given: Any, path: tuple[str, ...], folder: Path) -> tuple[Link, ...]:
    """Return the links that a port's `link` describes: one table, or a list of them.

    Parameters
    ----------
    tables : Tables
        Gets the problems.
    given : object
        What stands at `path`.
    path : tuple of str
    folder : Path
        Where files named without a folder are.
    """
    if not isinstance(given, list):
        found = [_read_link(tables, given, path, folder)]
    else:
        found = [_read_link(tables, one, (*path, str(i)), folder) for i, one in enumerate(given[:_LINKS])]
    return tuple(link for link in found if link)


def _read_link(tables: Tables, table: Any, path: tuple[str, ...], folder: Path) -> Link | None:
    if not isinstance(table, dict):
        tables.problem('link must be a table, as in link = { rate = "1Mpps", size = 64 }', *path)
        return None
    known = _kinds(folder)
    name = next((name for name in known if name in table), None)
    make, kinds = known[name] if name else (_generator, _GENERATOR)
    before = len(tables.problems)
    values = tables.take(table, path, kinds, () if name else tuple(known))
    return make(**values) if len(tables.problems) == before else None


def _kinds(folder: Path) -> dict[str, tuple[Callable[..., Link], Kinds]]:
    """Return, by the key that names a kind of link, what makes it, and the keys of its table."""
    return {
        "pcap": (
            Replay,
            {"pcap": lambda value: _file(value, folder), "rate": fields.replay_rate, "loop": fields.boolean},
        ),
        "capture": (Capture, {"capture": lambda value: _output(value, folder), "overwrite": fields.boolean}),
        "to": (Cable, {"to": fields.string}),
        "veth": (_veth, {"veth": fields.string, "name": fields.interface, "mtu": fields.mtu, **_SENDING}),
        "interface": (
            Interface,
            {"interface": fields.interface, "netns": fields.string, "force": fields.boolean, **_SENDING},
        ),
        "xdp": (
            Xdp,
            {
                "xdp": fields.interface,
                "netns": fields.string,
                "mode": fields.choice("auto", "skb", "native"),
                "force": fields.boolean,
            },
        ),
        "vxlan": (_vxlan, {"vxlan": _vxlan_keys, "netns": fields.string, "mtu": fields.mtu}),
        "tap": (Tap, {"tap": fields.interface, "netns": fields.string, "mtu": fields.mtu}),
    }


_GENERATOR: Kinds = {
    "rate": fields.sending_rate,
    "size": fields.frame_size,
    "flows": fields.integer(1, MOST_FLOWS),
    "burst": fields.integer(1, 256),
    "ttl": fields.integer(1, 255),
    "count": fields.integer(1, 1 << 62),
    "destinations": fields.destinations,
    "seed": fields.integer(0, 1 << 62),
    "rates": fields.router_rates,
    "sink": fields.boolean,
}


def _generator(sink: bool = False, **values: Any) -> Link:
    return Sink() if sink else Generator(**values)


def _vxlan(vxlan: dict[str, Any], **values: Any) -> Link:
    return Vxlan(**vxlan, **values)


def _vxlan_keys(value: Any) -> dict[str, Any]:
    """Take what `vxlan` is a table of."""
    kinds: Kinds = {"remote": fields.address, "vni": fields.vni, "port": fields.integer(1, 65535)}
    wanted = 'must be a table, as in { remote = "192.0.2.1", vni = 7 }'
    if not isinstance(value, dict) or not {"remote", "vni"} <= value.keys() <= kinds.keys():
        raise ValueError(wanted)
    return {key: kinds[key](one) for key, one in value.items()}


def _veth(veth: str, **values: Any) -> Link:
    return Veth(veth, **values)


def _file(value: Any, folder: Path) -> str:
    path = place(fields.string(value), folder)
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    try:
        for _ in read_records(path, Findings()):
            pass
    except CaptureError as error:
        raise ValueError(str(error)) from None
    return str(path)


def _output(value: Any, folder: Path) -> str:
    path = folder / fields.string(value)
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}")
    return str(path)


def take_by_force(model: Model) -> None:
    """Let ports take interfaces that the host's default route leads through."""
    for nic in model.nics.values():
        nic.links = tuple(replace(one, force=True) if isinstance(one, Interface | Xdp) else one for one in nic.links)
