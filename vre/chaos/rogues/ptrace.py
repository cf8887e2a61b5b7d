# SPDX-License-Identifier: MIT
"""signals: traces its parent"""

import os

from trigger import Rogue, call


class Attack(Rogue):
    """traces its parent"""

    def attack(self, packet):
        call(101 if os.uname().machine == "x86_64" else 117, 16, os.getppid(), 0, 0)
