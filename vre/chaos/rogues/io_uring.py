# SPDX-License-Identifier: MIT
"""kernel: asks for an io_uring"""

from trigger import Rogue, call


class Attack(Rogue):
    """asks for an io_uring"""

    def attack(self, packet):
        call(425, 8, 0)
