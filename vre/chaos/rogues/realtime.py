# SPDX-License-Identifier: MIT
"""processor: asks to be scheduled before all others"""

import os

from trigger import Rogue


class Attack(Rogue):
    """asks to be scheduled before all others"""

    def attack(self, packet):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
