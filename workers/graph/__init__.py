# SPDX-License-Identifier: MIT
"""A router's graph by its shape, and what follows from that alone."""
