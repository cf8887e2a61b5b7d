# SPDX-License-Identifier: MIT
"""Impairments of a platform's links: described, changed while it runs, and what has come of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from shm.impairment_layout import IMPAIRMENT, LINK_STATE
from shm.intrinsics import acquire64
from shm.manifest import Manifest
from shm.wire_layout import TALLY
from vre.config.impairment import Impairment, changed
from vre.config.model import Model, Nic
from vre.errors import ConfigError, PlatformError, Problem, nearest
from vre.memory.address_space import view
from vre.memory.impairments import DelayLine
from vre.platform.runtime import Runtime
from vre.platform.transaction import Finisher, Later, Step, Transaction

#: What a link's account has, in this order; see :func:`rows`.
COUNTS = ("lost", "over_limit", "duplicated", "reordered", "corrupted", "delayed", "unclaimed", "bytes")


def port_of(model: Model, name: str) -> Nic:
    """Return a port. Raises PlatformError if there is none of that name."""
    if name not in model.nics:
        raise PlatformError(f"no port '{name}'{nearest(name, model.nics)}")
    return model.nics[name]


def resolve(nic: Nic, direction: str | None, clear: bool, values: Mapping[str, Any]) -> tuple[str, Impairment]:
    """Return the direction of a change, and the impairments that it leads to.

    Parameters
    ----------
    nic : Nic
    direction : {"in", "out"}, optional
        None: the only one in which the port has a link.
    clear : bool
        Begin without impairments; else those that are not named stay.
    values : Mapping
        By the names of a link's table.

    Raises
    ------
    ConfigError
        Everything that is wrong.
    """
    if direction is None and len(nic.directions) > 1:
        message = f"port '{nic.name}' has links both ways: say which, 'in' or 'out'"
        raise ConfigError([Problem(None, message)])
    direction = direction or nic.directions[0]
    before = Impairment() if clear else nic.impaired.get(direction, Impairment())
    wanted, wrong = changed(before, values)
    if wrong:
        raise ConfigError([Problem(None, f"link {nic.name}: {message}") for _, message in wrong])
    return direction, wanted


def settings(nic: Nic) -> list[dict[str, Any]]:
    """Return what a port's links do, one row for each direction."""
    ways = dict.fromkeys((*nic.directions, *nic.impaired))
    return [
        {"port": nic.name, "direction": way} | nic.impaired.get(way, Impairment()).as_dict() for way in sorted(ways)
    ]


def rows(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the account of each impaired link: sent + duplicated = arrived + waiting + lost + over_limit + refused.

    What a device has not taken is refused; what it has not taken yet is waiting.
    """
    found = []
    for link in manifest.wire.impaired:
        state = view(acquire64(link.address + IMPAIRMENT["state"]), LINK_STATE.dtype)[0].copy()
        count = {name: int(state[name]) for name in ("frames", "arrived", *COUNTS)}
        refused = 0
        if link.tally:
            account = view(link.tally, TALLY.dtype)[0]
            count["arrived"] = int(account["packets"])
            refused = sum(int(account[reason]) for reason in ("link_down", "link_full", "link_refused"))
        gone = count["arrived"] + count["lost"] + count["over_limit"] + refused
        found.append(
            {
                "port": link.nic,
                "direction": link.direction,
                "sent": count["frames"],
                "arrived": count["arrived"],
                "waiting": count["frames"] + count["duplicated"] - gone,
            }
            | {name: count[name] for name in COUNTS}
            | {"refused": refused}
        )
    return found


def strays(manifest: Manifest) -> dict[str, list[int]]:
    """Return port to destination MAC of the last frame that came there over an impaired cable and was unclaimed."""
    found: dict[str, list[int]] = {}
    for link in manifest.wire.impaired:
        state = view(acquire64(link.address + IMPAIRMENT["state"]), LINK_STATE.dtype)[0]
        if state["stray"]:
            found.setdefault(manifest.wire.far.get(link.nic, link.nic), []).append(int(state["stray"]))
    return found


class ImpairmentChanges:
    """Changes of the impairments of a running platform's links.

    Parameters
    ----------
    runtime : Runtime
    finisher : Finisher
    """

    def __init__(self, runtime: Runtime, finisher: Finisher) -> None:
        self._runtime, self._finisher = runtime, finisher
        self._impaired = runtime.links.impaired

    def change(self, nic: str, direction: str, wanted: Impairment) -> None:
        """Let a link do something else to frames. Raises PlatformError if there is no memory for those that wait."""
        runtime, lines, key = self._runtime, self._impaired.lines, (nic, direction)
        impaired = runtime.model.nics[nic].impaired
        before = lines.get(key)
        with Transaction(f"link {nic}", self._finisher) as change:
            line = before
            if line is None or line.capacity < wanted.limit:
                line = self._acquire_line(change, nic, direction, wanted.limit)
            # The wire may still read settings that the change before has replaced.
            runtime.quiesce_wire()
            change.commit(
                partial(lines.update, {key: line}),
                partial(impaired.update, {direction: wanted}),
                partial(runtime.links.impair, nic, direction, wanted),
                runtime.publish,
                *(self._give_up(nic, direction, before, line) if before and before is not line else ()),
            )

    def _acquire_line(self, change: Transaction, nic: str, direction: str, limit: int) -> DelayLine:
        """Return a delay line that every process maps from now on."""
        runtime, space = self._runtime, self._runtime.builder.space
        change.undo(space.discard)
        line = self._impaired.plan(space, nic, direction, limit)
        told: list[Step] = []
        change.undo(partial(space.forget, line.label, []), lambda: [step() for step in told], space.sweep)
        runtime.make_room()
        line.fill()
        told.append(runtime.publish)
        runtime.publish()
        told.append(runtime.renew)
        runtime.renew()
        return line

    def _give_up(self, nic: str, direction: str, line: DelayLine, following: DelayLine) -> list[Step]:
        """Return the steps that free a delay line once the wire has moved its frames to the following one."""
        runtime, space = self._runtime, self._runtime.builder.space

        def await_moved() -> None:
            if not self._impaired.uses(nic, direction, following):
                raise Later(f"frames wait in the delay line of port {nic}")

        forget = partial(space.forget, line.label, [])
        return [await_moved, forget, runtime.publish, runtime.renew, space.sweep]
