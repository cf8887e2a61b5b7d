# SPDX-License-Identifier: MIT
"""Rogue elements, one attack a file: what `vre chaos` lets loose in a router of their own.

The first line of each says its group and what it does. They run in a domU, never here.
"""
