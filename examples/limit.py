# SPDX-License-Identifier: MIT
"""An untrusted element that is compiled in the domU: the declaration is that of trusted elements."""

from vre.element import DROP, Argument, Element, be32, between


class PerSource(Element):
    """Passes at most MOST packets of each source address (in 65,536 classes), and drops the rest.

    Syntax: `Untrusted(limit.py:PerSource, MOST)`
    """

    arguments = (Argument("MOST", between(1, 1 << 30), 1000),)
    state = {"most": "i8", "counts": "65536*u4"}

    @staticmethod
    def process(state, packet):
        if packet["length"] < 34:
            return DROP
        source = be32(packet["data"] + 26)
        place = (source ^ source >> 16) & 0xFFFF
        state["counts"][place] += 1
        return DROP if state["counts"][place] > state["most"] else 0
