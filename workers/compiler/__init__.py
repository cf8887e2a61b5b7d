# SPDX-License-Identifier: MIT
"""From a graph's shape to machine code, with a cache on disk."""
