# SPDX-License-Identifier: MIT
"""An element that hangs when it sees certain bytes: its router's domU is restarted, and no other router notices."""

from vre.element import Element

TRIGGER = bytes.fromhex("0bad0bad0bad0bad")


class Rogue(Element):
    """Passes packets on, until one of them makes it hang."""

    def push(self, packet):
        """Handle one packet."""
        while TRIGGER in bytes(packet.data):
            pass
