# SPDX-License-Identifier: MIT
"""files: reads what it should not"""

import os

from trigger import Rogue


class Attack(Rogue):
    """reads what it should not"""

    def attack(self, packet):
        for path in (
            "/etc/shadow",
            "/etc/passwd",
            "/proc/1/environ",
            "/proc/self/maps",
            "/run",
            "/dev/shm",
            "/root/.bashrc",
            "/root/.ssh",
            "/home",
            "/run/vre",
            "/sys",
        ):
            if self.reads(path):
                os._exit(99)

    def reads(self, path):
        try:
            os.open(path, os.O_RDONLY)
        except OSError:
            return False
        return True
