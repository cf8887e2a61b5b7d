# SPDX-License-Identifier: MIT
"""Links with offloads: hosts' stacks send and get super-frames, the router between them sees frames of its MTU."""

from __future__ import annotations

import json
import subprocess
import sys

from shm.link_layout import DEVICE
from tests.vre.hosts import need
from tests.vre.platforms import wait_for
from tests.vre.test_links import Network
from vre.memory.address_space import view

SIZE = 3_000_000
SERVER = f"""
import hashlib, socket
with socket.create_server(("10.2.0.2", 5000)) as server:
    print("ready", flush=True)
    peer = server.accept()[0]
    data = b""
    while len(data) < {SIZE}:
        data += peer.recv(1 << 20)
    peer.sendall(data[::-1])
    print(hashlib.sha256(data).hexdigest(), flush=True)
"""
CLIENT = f"""
import hashlib, random, socket
data = random.Random(1).randbytes({SIZE})
with socket.create_connection(("10.2.0.2", 5000)) as peer:
    peer.sendall(data)
    back = b""
    while len(back) < {SIZE} and (part := peer.recv(1 << 20)):
        back += part
assert back == data[::-1]
print(hashlib.sha256(data).hexdigest(), flush=True)
"""


def test_a_stream_passes_in_super_frames_and_arrives_as_it_was_sent():
    need("ping")
    with Network(offload=True) as net:
        assert "2 received" in net.ask("ping -c 2 -i 0.05 -W 5 10.2.0.2")
        server = net.hosts[1].start([sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
        assert server.stdout.readline() == "ready\n"
        said = net.ask([sys.executable, "-c", CLIENT])
        wait_for(net.box, lambda: server.poll() is not None, 30)
        assert server.stdout.read() == said
        server.stdout.close()
        devices = [view(entry.address, DEVICE.dtype)[0] for entry in net.box.reader.manifest.wire.devices]
        assert all(device["cut"] > 0 for device in devices), "the hosts' stacks have left segmentation to the link"
        (near,) = json.loads(net.hosts[0].run("ip -j -s link show eth0"))
        stats = net.settle()
        received = near["stats64"]["rx"]
        assert received["bytes"] / received["packets"] > 2000, "and get more than a segment at once"
        assert stats.forwarded > 2 * SIZE / 1500
