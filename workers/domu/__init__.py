# SPDX-License-Identifier: MIT
"""The process that runs one router's untrusted elements."""
