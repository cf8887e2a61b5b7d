# SPDX-License-Identifier: MIT
"""Longest prefix match by looking at every route."""

from __future__ import annotations


def mask(length):
    """Return the netmask of a prefix length."""
    return (1 << 32) - (1 << (32 - length))


class SlowTable:
    """Routes in a dictionary."""

    def __init__(self):
        self.routes = {}

    def add(self, address, length, output):
        """Add or replace a route."""
        self.routes[address & mask(length), length] = output

    def remove(self, address, length):
        """Remove a route; return whether it was there."""
        return self.routes.pop((address & mask(length), length), None) is not None

    def find(self, address):
        """Return the output for an address, None for no route."""
        found = [(length, out) for (base, length), out in self.routes.items() if address & mask(length) == base]
        return max(found)[1] if found else None
