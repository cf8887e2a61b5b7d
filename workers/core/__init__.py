# SPDX-License-Identifier: MIT
"""An emulated core: its worker, its scheduler, its slow path."""
