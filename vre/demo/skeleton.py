# SPDX-License-Identifier: MIT
"""An untrusted element: it runs in its router's domU, jailed, and can harm only its own router."""

from vre.element import Argument, Element, integer


class Mine(Element):
    """Drops every packet behind the first LIMIT.

    Syntax: `Untrusted(mine.py:Mine, LIMIT n)`
    """

    arguments = (Argument("LIMIT", integer, -1),)

    def __init__(self):
        self.count = 0  # state is an ordinary attribute; arguments are too: self.limit

    def push(self, packet):
        """Handle a packet: `packet[12:14]` is bytes of it; returning None sends it to output 0, a number elsewhere."""
        self.count += 1
        if 0 <= self.limit < self.count:
            packet.drop()
