# SPDX-License-Identifier: MIT
"""Neighbours on a link: known Ethernet addresses, when they expire, and packets that wait for unknown ones.

| a neighbour is | its packets | it is asked for |
| --- | --- | --- |
| unknown, or its answer expired | wait: the latest, bounded | once a second, while packets come |
| known, with packets that wait still | wait behind them; the last are dropped | no |
| fresh | are sent | no |
| known, but not fresh | are sent | once a second, while packets come |

(RFC 1122, sections 2.3.2.1 and 2.3.2.2; Click: ARPQuerier, ARPTable.) Compiled paths read the table
(:mod:`workers.datapath.neighbour_table`), and request a poll of stale neighbours; everything else is done here, on the
slow path, a bounded amount at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Generator, Iterator
from typing import Any

from shm.intrinsics import acquire64, load64, release64, store64
from workers.datapath.headers import ETHER_SIZE
from workers.datapath.held import QUEUE, Held
from workers.datapath.neighbour_table import (
    AT_ONCE,
    COMMANDS,
    DELETE,
    ENTRY,
    GONE,
    INSERT,
    NEVER_NS,
    NOTES,
    POLL_MASK,
    POLLS,
    PROBES,
    SLOTS,
    SWEEP_NS,
    TIMES,
    checksum,
    first_place,
    may_be_asked,
    neighbour,
)
from workers.element import Drop, SlowPacket


class Neighbours:
    """The slow path's view of an ARPQuerier's state, for one turn: what it yields is as of `Element.slow`."""

    def __init__(self, state: Any, context: Any) -> None:
        self.state, self._context, self.now = state, context, context.now_ns
        self._table, self._notes, self._lost = int(state["table"]), int(state["notes"]), int(state["lost"])
        self.held = Held(int(state["hold"]), int(state["links"]))
        context.touched.add(self.held.ring)
        if self.now < state["now_ns"]:
            self._go_back(int(state["now_ns"]) - self.now)
        state["now_ns"] = self.now
        if not self.held.links_fit():
            self._link_again()
        self.held.begin()

    def _go_back(self, ns: int) -> None:
        """Move all times back: the element is on another core now, whose clock is behind."""
        import numpy as np

        for place, layout in ((self._table, ENTRY), (self._notes, NOTES)):
            memory: Any = (ctypes.c_char * (SLOTS * layout.size)).from_address(place)
            rows = np.frombuffer(memory, layout.dtype)
            for name in TIMES & set(layout.fields):
                rows[name] = np.where(rows[name] > 0, np.maximum(rows[name] - ns, 1), 0)
        self.state["next_ns"] = self.now

    def _link_again(self) -> None:
        """Rebuild the queues: the links are new, or a worker died while it changed them."""
        import numpy as np

        memory: Any = (ctypes.c_char * (SLOTS * NOTES.size)).from_address(self._notes)
        notes = np.frombuffer(memory, NOTES.dtype)
        for name in (*QUEUE.fields, "owed", "next_owed"):
            notes[name] = 0
        ctypes.memset(self._lost, 0, QUEUE.size)
        self.state["owed_first"] = self.state["owed_last"] = 0
        self.held.link_again(self._queue_of)

    def _queue_of(self, address: int) -> int:
        entry = neighbour(self._table, address) if address else 0
        if entry == 0:
            return self._lost
        if load64(entry + ENTRY["mac"]):
            self._owe(entry)
        return self._of(entry)

    def _of(self, entry: int) -> int:
        """Return the notes of an entry, which begin with its queue."""
        return self._notes + (entry - self._table) * (NOTES.size // ENTRY.size)

    def _entry(self, notes: int) -> int:
        return self._table + (notes - self._notes) // (NOTES.size // ENTRY.size)

    def _after(self, ns: int) -> int:
        return self.now + ns

    # Packets to be sent.

    def send(self, packet: SlowPacket) -> Iterator[Any]:
        """Send a packet, or hold it and send a request for its neighbour."""
        entry = neighbour(self._table, packet.dst)
        if entry == 0:
            entry = yield from self._claim(packet.dst)
        if entry == 0:
            yield Drop("arp_table_full")
            return
        notes, valid = self._of(entry), self.now < load64(entry + ENTRY["valid_until"])
        if valid and load64(entry + ENTRY["mac"]) and load64(notes + NOTES["count"]) == 0:
            yield 0, self._framed(packet, load64(entry + ENTRY["mac"]))
            return
        if not (valid and load64(entry + ENTRY["mac"])):
            store64(entry + ENTRY["mac"], 0)
            store64(entry + ENTRY["fresh_until"], 0)
            store64(entry + ENTRY["valid_until"], self._after(int(self.state["timeout_ns"])))
        yield from self._keep(notes, packet)
        if load64(entry + ENTRY["mac"]) == 0 and may_be_asked(notes, self.now):
            yield self._query(packet.dst, notes)

    def _keep(self, queue: int, packet: SlowPacket) -> Iterator[Any]:
        """Hold a packet; if there is no room, drop the oldest of its neighbour, or one of a neighbour with several."""
        most = int(self.state["entry_packet_capacity"])
        victim = queue if load64(queue + NOTES["count"]) else 0
        if not (most and load64(queue + NOTES["count"]) >= most) and self.held.append(queue, packet):
            return
        if victim == 0:
            waiting = [self.held.queue_at(i) for i in range(min(AT_ONCE, len(self.held)))]
            victim = next((q for q in waiting if load64(q + NOTES["count"]) > 1), waiting[0])
        self.held.replace(victim, queue, packet)
        yield Drop("arp_queue_full")

    def _claim(self, address: int) -> Generator[Any, None, int]:
        """Return a place for an address, free or the least useful neighbour's; 0 if there is none."""
        found, least = 0, (3, 0, 0)
        at = first_place(address)
        for i in range(PROBES):
            entry = self._table + ((at + i) & (SLOTS - 1)) * ENTRY.size
            count, worth = load64(self._of(entry) + NOTES["count"]), self._worth(entry)
            if worth < least and count <= AT_ONCE:
                found, least = entry, worth
            if load64(entry) == 0:
                break
        if found:
            notes = self._of(found)
            while load64(notes + NOTES["count"]):
                self.held.take(notes)
                yield Drop("arp_given_up")
            for field, value in (("fresh_until", 0), ("mac", 0), ("valid_until", 0), ("address", address)):
                store64(found + ENTRY[field], value)
            store64(notes + NOTES["asked"], 0)
        return found

    def _worth(self, entry: int) -> tuple[int, int, int]:
        """Return how useful an entry is: one that expired least, then one that has not answered, then the oldest."""
        valid, waiting = load64(entry + ENTRY["valid_until"]), load64(self._of(entry) + NOTES["count"])
        if load64(entry) in (0, GONE) or valid <= self.now:
            return 0, waiting, 0
        return (2 if load64(entry + ENTRY["mac"]) else 1), waiting, min(valid, NEVER_NS)

    def _query(self, target: int, notes: int) -> tuple[int, SlowPacket]:
        state = self.state
        store64(notes + NOTES["asked"], max(self.now, 1))
        state["queries"] += 1
        query = SlowPacket(arp_frame(1, int(state["eth"]), int(state["ip"]), 0, target))
        return (1 if self._context.connected(1) else 0), query

    def _framed(self, packet: SlowPacket, mac: int) -> SlowPacket:
        packet.strip(-ETHER_SIZE)
        packet.data[:ETHER_SIZE] = mac.to_bytes(6, "big") + int(self.state["eth"]).to_bytes(6, "big") + b"\x08\x00"
        packet.mac = 0
        return packet

    # Answers.

    def learn(self, address: int, mac: int, unasked: bool = False) -> Iterator[Any]:
        """Record an answer, and send what waited for it; an unsolicited one only if `unasked`."""
        entry = neighbour(self._table, address)
        if entry == 0 and unasked:
            entry = yield from self._claim(address)
        if entry == 0:
            return
        state, notes = self.state, self._of(entry)
        store64(notes + NOTES["learnt"], self.now)
        store64(entry + ENTRY["valid_until"], self._after(int(state["timeout_ns"])))
        store64(entry + ENTRY["mac"], mac)
        if load64(notes + NOTES["count"]) or load64(notes + NOTES["owed"]):
            # What comes meanwhile waits behind them: it is fresh when all are sent.
            store64(entry + ENTRY["fresh_until"], 0)
            self._owe(entry)
        else:
            self._freshen(entry)
        yield from self._pay()

    def _freshen(self, entry: int) -> None:
        """Let packets to a neighbour be sent at once until it is to be asked for again."""
        state, learnt = self.state, load64(self._of(entry) + NOTES["learnt"])
        store64(entry + ENTRY["fresh_until"], learnt + min(int(state["poll_ns"]), int(state["timeout_ns"])))

    def _owe(self, entry: int) -> None:
        notes, state = self._of(entry), self.state
        if load64(notes + NOTES["owed"]):
            return
        store64(notes + NOTES["owed"], 1)
        store64(notes + NOTES["next_owed"], 0)
        if state["owed_last"]:
            store64(int(state["owed_last"]) + NOTES["next_owed"], notes)
        else:
            state["owed_first"] = notes
        state["owed_last"] = notes

    def _pay(self) -> Iterator[Any]:
        """Send packets that are owed to neighbours that have answered."""
        state, left = self.state, min(AT_ONCE, self._context.room)
        while state["owed_first"]:
            notes = int(state["owed_first"])
            mac = load64(self._entry(notes) + ENTRY["mac"])
            while load64(notes + NOTES["count"]) and mac and left:
                left -= 1
                yield 0, self._framed(self.held.take(notes), mac)
            if load64(notes + NOTES["count"]) and mac:
                return
            if mac:
                # What is on its way here came before what would be sent at once from now on.
                behind, last = self._context.behind
                owed = load64(notes + NOTES["owed"])
                if behind < last and (owed == 1 or behind < owed - 2):
                    store64(notes + NOTES["owed"], last + 2 if owed == 1 else owed)
                    return
                self._freshen(self._entry(notes))
            state["owed_first"] = load64(notes + NOTES["next_owed"])
            if state["owed_first"] == 0:
                state["owed_last"] = 0
            store64(notes + NOTES["owed"], 0)

    # What is done without a packet.

    def visit(self) -> Iterator[Any]:
        """Do one thing that is due."""
        state, polls, commands = self.state, int(self.state["polls"]), int(self.state["commands"])
        if load64(polls) != load64(polls + POLLS["tail"]):
            yield from self._poll(polls)
        elif state["owed_first"]:
            yield from self._pay()
        elif load64(self._lost + NOTES["count"]):
            yield from self._give_up(self._lost)
        elif acquire64(commands) != load64(commands + COMMANDS["tail"]):
            yield from self._obey(commands)
        else:
            yield from self._sweep()

    def _poll(self, polls: int) -> Iterator[Any]:
        """Ask for neighbours that are in use, and no longer fresh."""
        for _ in range(min(AT_ONCE, self._context.room)):
            tail = load64(polls + POLLS["tail"])
            if tail == load64(polls):
                return
            address = load64(polls + POLLS["addresses"] + 8 * (tail & POLL_MASK))
            store64(polls + POLLS["tail"], tail + 1)
            entry = neighbour(self._table, address)
            if entry:
                yield self._query(address, self._of(entry))

    def _give_up(self, queue: int) -> Iterator[Any]:
        for _ in range(AT_ONCE):
            if load64(queue + NOTES["count"]):
                self.held.take(queue)
                yield Drop("arp_given_up")

    def _sweep(self) -> Iterator[Any]:
        """Give up packets whose neighbour has not answered in time, a few at a look."""
        state = self.state
        at = int(state["cursor"])
        for place in range(at, min(at + AT_ONCE, len(self.held))):
            queue = self.held.queue_at(place)
            if queue != self._lost and load64(self._entry(queue) + ENTRY["valid_until"]) <= self.now:
                yield from self._give_up(queue)
                return
        state["cursor"] = at + AT_ONCE
        if at + AT_ONCE >= len(self.held):
            state["cursor"] = 0
            state["next_ns"] = self.now + SWEEP_NS

    def _obey(self, commands: int) -> Iterator[Any]:
        """Make a change that a handler asked for."""
        tail = load64(commands + COMMANDS["tail"])
        at = commands + COMMANDS["words"] + 32 * (tail & POLL_MASK)
        kind, address, mac, check = (load64(at + 8 * i) for i in range(4))
        if check != checksum(tail, kind, address, mac):
            return
        if kind == INSERT:
            yield from self.learn(address, mac, unasked=True)
        elif kind == DELETE:
            entry = neighbour(self._table, address)
            if entry and load64(self._of(entry) + NOTES["count"]):
                yield from self._give_up(self._of(entry))
                return
            if entry:
                for field, value in (("fresh_until", 0), ("mac", 0), ("valid_until", 0), ("address", GONE)):
                    store64(entry + ENTRY[field], value)
        elif len(self.held):
            yield from self._give_up(self.held.queue_at(0))
            return
        else:
            ctypes.memset(self._table, 0, SLOTS * ENTRY.size)
            ctypes.memset(self._notes, 0, SLOTS * NOTES.size)
        release64(commands + COMMANDS["tail"], tail + 1)


def arp_frame(operation: int, source_mac: int, source_ip: int, target_mac: int, target_ip: int) -> bytearray:
    """Return an ARP frame for IPv4 over Ethernet, without padding; a request (1) is broadcast."""
    destination = 0xFFFFFFFFFFFF if operation == 1 else target_mac
    return bytearray(
        destination.to_bytes(6, "big")
        + source_mac.to_bytes(6, "big")
        + bytes.fromhex("0806000108000604")
        + operation.to_bytes(2, "big")
        + source_mac.to_bytes(6, "big")
        + source_ip.to_bytes(4, "big")
        + target_mac.to_bytes(6, "big")
        + target_ip.to_bytes(4, "big")
    )
