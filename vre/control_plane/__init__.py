# SPDX-License-Identifier: MIT
"""A router's control plane as dom0 sees it: its namespace, its routing daemon, its routes."""
