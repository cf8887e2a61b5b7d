# SPDX-License-Identifier: MIT
"""What is outside the router: links, captures, traffic."""
