# SPDX-License-Identifier: MIT
"""An untrusted element that takes whole batches, in NumPy."""

import numpy as np

from vre.element import Argument, Element, between


class Sample(Element):
    """Sends one in N packets, by the bytes of their addresses and ports, to output 1 and all others to output 0.

    Syntax: `Untrusted(sample.py:Sample, N)`
    """

    arguments = (Argument("N", between(1, 256), 10),)

    def batch(self, packets):
        """Handle many packets."""
        flows = packets.data[:, 26:38].astype(np.uint32)
        packets.output[flows.sum(axis=1) % self.n == 0] = 1
