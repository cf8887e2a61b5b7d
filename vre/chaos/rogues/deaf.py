# SPDX-License-Identifier: MIT
"""hang: waits for a lock that nobody gives back"""

import threading

from trigger import Rogue


class Attack(Rogue):
    """waits for a lock that nobody gives back"""

    def attack(self, packet):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
