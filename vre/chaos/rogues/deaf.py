# SPDX-License-Identifier: MIT
"""hang: waits for a lock that is never released"""

import threading

from trigger import Rogue


class Attack(Rogue):
    """waits for a lock that is never released"""

    def attack(self, packet):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
