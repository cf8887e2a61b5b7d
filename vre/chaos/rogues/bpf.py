# SPDX-License-Identifier: MIT
"""kernel: loads a BPF program"""

import os

from trigger import Rogue, call


class Attack(Rogue):
    """loads a BPF program"""

    def attack(self, packet):
        call(321 if os.uname().machine == "x86_64" else 280, 5, 0, 0)
