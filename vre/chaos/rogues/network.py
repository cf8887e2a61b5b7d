# SPDX-License-Identifier: MIT
"""network: opens sockets of every kind"""

import os
import socket

from trigger import Rogue


class Attack(Rogue):
    """opens sockets of every kind"""

    def attack(self, packet):
        for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
            try:
                socket.socket(family, socket.SOCK_STREAM if family != socket.AF_PACKET else socket.SOCK_RAW)
            except OSError:
                continue
            os._exit(99)
