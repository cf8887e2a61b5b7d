# SPDX-License-Identifier: MIT
"""What one packet may ask of a core before its turn looks round: entries of the undo log, and spare buffers.

Both are of a fixed size, and behind them is memory that all routers depend on. So how much a packet can take is known
before a graph runs: elements that copy multiply it, and a graph in which it might be more is refused
(:mod:`vre.language.checker`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.element import Element
from workers.graph.shape import Shape
from workers.graph.traces import Traces

#: What is noted for a packet before its first element, at most: that it was made, or came back from a domU and how.
MARGIN = 8


@dataclass
class Spread:
    """How far packets spread in a shape.

    Attributes
    ----------
    entries : dict of int to int
        Undo entries that a packet may take from an element on, where a trace passes it.
    depth : dict of int to int
        Copies that may be in hand at once from there on, each one of the one before.
    """

    shape: Shape
    entries: dict[int, int] = field(default_factory=dict)
    depth: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        traces = Traces(self.shape)
        # Callees come first, and in a trace what follows: all that a packet goes on to is known.
        for head in traces.order:
            for element in reversed(list(traces.along(head))):
                ways = [] if traces.ends(element) else traces.outputs.get(element, [])
                targets = [(traces.next[element, o][0], (element, o) in traces.cut) for o in ways]
                # At a cut edge a packet is put aside; it goes on in a turn of its own.
                entries = [1 if cut else self.entries.get(t, 1) for t, cut in targets]
                depth = [0 if cut else self.depth.get(t, 0) for t, cut in targets]
                self._add(element, traces.classes[element], entries, depth)

    def _add(self, element: int, cls: type[Element], entries: list[int], depth: list[int]) -> None:
        if cls.copies():
            # The copies first, each noted as made, and then the packet itself.
            self.entries[element] = _own(cls) + sum(entries) + max(0, len(entries) - 1)
            self.depth[element] = max([d + 1 for d in depth[1:]] + depth[:1], default=0)
        else:
            self.entries[element] = max([_own(cls), *entries])
            self.depth[element] = max(depth, default=0)


def _own(cls: type[Element]) -> int:
    return MARGIN if cls.driver == "domu" else 1
