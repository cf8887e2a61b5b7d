# SPDX-License-Identifier: MIT
"""hang: loops for ever in machine code"""

from vre.element import Element


class Attack(Element):
    """loops for ever in machine code"""

    state = {"count": "i8"}

    @staticmethod
    def process(state, packet):
        state["count"] += 1
        while state["count"] > 2000:
            state["count"] += 1
        return 0
