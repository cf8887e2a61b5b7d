# SPDX-License-Identifier: MIT
"""An untrusted element for tests that write the domU's side by hand."""


class Nothing:
    """Never run."""

    def push(self, packet):
        """Nothing."""


class Anything(Nothing):
    """Never run either, whatever it is given."""

    def __init__(self, *arguments):
        pass
