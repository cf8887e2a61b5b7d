# SPDX-License-Identifier: MIT
"""An untrusted element in plain Python: one packet at a time."""

from vre.element import Argument, Element, between


class Scrub(Element):
    """Clears the DSCP of IPv4 packets at OFFSET and drops those of fewer than LEAST bytes.

    Syntax: `Untrusted(scrub.py:Scrub, OFFSET, LEAST n)`
    """

    arguments = (Argument("OFFSET", between(0, 1500), 14), Argument("LEAST", between(0, 2048), 0, keyword=True))

    def push(self, packet):
        """Handle one packet."""
        at = self.offset
        if len(packet) < max(self.least, at + 20):
            packet.drop()
            return
        old = packet[at + 1]
        if old & 0xFC:
            packet[at + 1] = old & 3
            # RFC 1624, equation 3: the checksum for one word that has changed.
            total = (~int.from_bytes(packet[at + 10 : at + 12], "big") & 0xFFFF) + (~old & 0xFFFF) + (old & 3)
            total = (total & 0xFFFF) + (total >> 16)
            total = (total & 0xFFFF) + (total >> 16)
            packet[at + 10 : at + 12] = (~total & 0xFFFF).to_bytes(2, "big")
