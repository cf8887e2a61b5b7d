# SPDX-License-Identifier: MIT
"""The jail of untrusted code, layer by layer."""
