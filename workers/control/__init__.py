# SPDX-License-Identifier: MIT
"""Control planes: routes are read from the kernel of a router's namespace."""
