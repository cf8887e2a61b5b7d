# SPDX-License-Identifier: MIT
"""Links out of the platform: interfaces of the operating system are made, opened, watched, and let go."""
