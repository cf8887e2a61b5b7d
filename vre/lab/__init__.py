# SPDX-License-Identifier: MIT
"""Labs: routers, hosts and links on one machine, from one topology file."""
