# SPDX-License-Identifier: MIT
"""Untrusted elements that pass every packet on: what crossing costs, compiled and in the interpreter."""

from vre.element import Element


class Compiled(Element):
    """Passes packets on, in machine code."""

    @staticmethod
    def process(state, packet):
        return 0


class Interpreted(Element):
    """Passes packets on, one by one in the interpreter."""

    def push(self, packet):
        return None
