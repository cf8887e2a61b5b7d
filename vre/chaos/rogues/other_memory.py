# SPDX-License-Identifier: MIT
"""memory: reads its parent's memory"""

import os

from trigger import Rogue, call


class Attack(Rogue):
    """reads its parent's memory"""

    def attack(self, packet):
        call(310 if os.uname().machine == "x86_64" else 270, os.getppid(), 0, 0, 0, 0, 0)
