# SPDX-License-Identifier: MIT
"""Where a packet leaves dom0 for its router's domU, and where it comes back."""

from __future__ import annotations

from typing import Any

from shm.channel import (
    CHANNEL,
    DROPPED,
    FAILED,
    FREE,
    GIFT,
    KEPT,
    LENT,
    LONGEST,
    OUTPUTS,
    SLOT_START,
    SLOTS,
    can_lend,
    count_fault,
    fetch,
    is_open,
    keeps,
    kept_before,
    kind_of,
    lend,
    length_in,
    offset_in,
    outcome_of,
    retrieve,
    slot_address,
    slot_in,
    time_of,
)
from shm.intrinsics import copy, kernel, load64, store64
from shm.layout import NOTE
from workers.arguments import Argument, string
from workers.datapath.checksum import header_fault
from workers.datapath.headers import ETHER_SIZE
from workers.datapath.packet import DROP, GUARD, HEADROOM, TAKEN, get_note, put_note, spare_done, spare_packet
from workers.datapath.turn import drop, made
from workers.element import Element, Needs

#: What `collect` returns where no packet goes on.
GONE = -1
#: What `resolve` returns if a return is about no packet that goes on or ends.
NOTHING = -100


def _target(text: str) -> tuple[str, str]:
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier() or not file.isprintable():
        raise ValueError(f"'{text}' is not FILE.py:CLASS (as in mine.py:Scrub)")
    return file, name


@kernel
def net_mark(packet):
    """Return what the domU is told of a packet's annotations: IP header's place, one up; paint, type, VLAN, device."""
    net = packet["net"] - packet["data"] + 1 if packet["net"] >= packet["data"] else 0
    return (net & 0xFFFF) | packet["paint"] << 16 | packet["type"] << 24 | packet["vlan"] << 32 | packet["device"] << 48


@kernel
def validate_again(packet):
    """Check what stands in the packet now: nothing that was known of it before it left counts any more."""
    end = packet["data"] + packet["length"]
    if packet["mac"] < packet["data"] or packet["mac"] + ETHER_SIZE > end:
        packet["mac"] = 0
    net = packet["net"]
    if net == 0:
        return 0
    if net < packet["data"] or header_fault(net, end - net, 1) < 0:
        return -1
    return 0


@kernel
def resolve(core, channel, place, kind, outcome):
    """Return what is to become of a packet: an output, DROPPED, FAILED, a fault (below 0); NOTHING if there is none.

    | slot | while packets are kept | outcome | what it means |
    | --- | --- | --- | --- |
    | lent with a packet | either | KEPT | the packet stays, NOTHING yet; DROPPED if too many do |
    | lent empty | yes | an output, DROPPED | that of a packet that was kept |
    | lent empty | no | DROPPED | NOTHING: the slot comes back unused |
    | lent empty | no | an output | a packet that the domU made |
    | lent empty | either | KEPT | DROPPED: a packet cannot stay in its stead |
    """
    if kind == GIFT and kept_before(core, channel) == 0:
        if outcome == DROPPED:
            return NOTHING
        made(core, place)
    elif kind == LENT and outcome == KEPT and keeps(core, channel):
        return NOTHING
    return DROPPED if outcome == KEPT else outcome


@kernel
def count_lost(core, channel, place, outcome):
    """Count a packet that the domU dropped or failed on, or whose return cannot be meant."""
    if outcome == DROPPED:
        drop(core, place, DROP - 3)
    elif outcome == FAILED:
        drop(core, place, DROP - 4)
    else:
        count_fault(core, channel, outcome)
        drop(core, place, DROP - 5)


@kernel
def restore(packet, core, channel, kind, word):
    """Open what a return brings as a packet, in a spare buffer, with the annotations that it left with."""
    length, offset, slot = length_in(word), offset_in(word), slot_in(word)
    spare_packet(packet, core, length)
    start = packet["data"]
    if kind == LENT:
        # Annotations point to places relative to where the packet began when it left.
        packet["data"] = start + SLOT_START - offset
        get_note(load64(channel + CHANNEL["notes"]) + slot * NOTE.size, packet)
        packet["data"] = start
        packet["time"] = time_of(channel, slot)
    packet["floor"] = start - HEADROOM + GUARD
    for i in range(GUARD, HEADROOM, 8):
        # What was stripped stayed behind: if it is put back, it is zeros.
        store64(start - HEADROOM + i, 0)
    copy(start, slot_address(channel, slot) + offset, length)


class Untrusted(Element):
    """Runs code that the platform does not trust, in the router's domU.

    Syntax: `Untrusted(FILE.py:CLASS [, ARGS...])`

    The packet leaves dom0 here: it is copied into the router's I/O channel, handled by CLASS in a sandboxed process
    of the router's own, and copied back, to the output that CLASS chose. Untrusted elements that follow each other
    cross once. Annotations stay in dom0; what is known of the headers is checked again on the way back. Bytes in front
    of the packet (after a Strip) do not cross. `vre elements --new FILE.py` writes a skeleton.

    Handlers: `crossing` (read): packets that the domU has now.
    """

    ports = "1-/-"
    processing = "h/h"
    driver = "domu"
    takes = True
    cycles = 2500
    lines = 8
    arguments = (Argument("CLASS", _target), Argument("ARGS", string, rest=True))
    state = {"channel": "i8", "table": "i8", "notes": "i8", "free": "i8"}
    reasons = (
        "domu_down",
        "channel_full",
        "too_long_to_cross",
        "domu_dropped",
        "domu_failed",
        "bad_return",
        "bad_header_returned",
    )

    @classmethod
    def needs(cls, values: dict[str, Any]) -> Needs:
        areas = {"channel": CHANNEL.size, "table": 8 * SLOTS, "notes": NOTE.size * SLOTS, "free": 8 * SLOTS}
        return Needs(areas=areas)

    @classmethod
    def set_up(cls, state: Any, values: dict[str, Any]) -> None:
        for name in ("table", "notes", "free"):
            store64(state["channel"] + CHANNEL[name], state[name])

    @staticmethod
    def process(state, packet, port, core):
        channel, length = state["channel"], packet["length"]
        if is_open(channel) == 0:
            return DROP
        if length < 1 or length > LONGEST:
            return DROP - 2
        if can_lend(channel) == 0:
            return DROP - 1
        slot = lend(core, channel, LENT, length, port, net_mark(packet), packet["time"])
        put_note(load64(channel + CHANNEL["notes"]) + slot * NOTE.size, packet, 0)
        # As many bytes as the packet has: what is behind them in the buffer may have been another router's.
        copy(slot_address(channel, slot) + SLOT_START, packet["data"], length)
        return TAKEN

    @staticmethod
    def collect(state, place, packet, core, index):
        """Take the return for `index` out of the channel; return the output for `packet`, GONE where there is none.

        The packet is in a spare buffer, which the caller gives back. `place` is where the state is.
        """
        channel = state["channel"]
        word = fetch(channel, index)
        kind = kind_of(channel, word)
        if kind != LENT and kind != GIFT:
            count_fault(core, channel, kind)
            return GONE
        outcome = resolve(core, channel, place, kind, outcome_of(word))
        if outcome < 0 or outcome >= OUTPUTS:
            retrieve(core, channel, slot_in(word))
            if outcome != NOTHING:
                count_lost(core, channel, place, outcome)
            return GONE
        restore(packet, core, channel, kind, word)
        retrieve(core, channel, slot_in(word))
        if validate_again(packet) < 0:
            spare_done(core)
            drop(core, place, DROP - 6)
            return GONE
        return outcome

    @staticmethod
    def _crossing(state: Any) -> str:
        from shm.channel import lent

        return str(lent(int(state["channel"])))

    read_handlers = {"crossing": _crossing}


assert FREE == 0
