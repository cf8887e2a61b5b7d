# SPDX-License-Identifier: MIT
"""An untrusted element for tests that write the domU's side by hand."""


class Nothing:
    """Never run."""

    def push(self, packet):
        """Nothing."""
