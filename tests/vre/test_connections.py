# SPDX-License-Identifier: MIT
"""Clients of the control socket that do what they should not: nobody else notices, nobody is waited for."""

from __future__ import annotations

import os
import resource
import socket

import pytest

from vre.platform.connections import BATCH, CLIENTS, HELD, LONGEST, PATIENCE_S, Connections, reachable


class Desk:
    """A server on a logical clock, which answers each line with `size` times its length."""

    def __init__(self, folder):
        self.path, self.now, self.answered, self.size, self.clients = folder / "control", 0.0, [], 1, []
        self.server = Connections(self.path, self.answer, lambda: self.now)

    def answer(self, line):
        self.answered.append(line)
        return b"x" * (len(line) * self.size)

    def client(self):
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(5)
        with reachable(self.path) as address:
            client.connect(address)
        self.clients.append(client)
        self.serve()
        return client

    def close(self):
        self.server.close()
        for client in self.clients:
            client.close()

    def serve(self, times=1):
        for _ in range(times):
            self.server.serve()

    def gone(self, client):
        client.setblocking(False)
        try:
            while data := client.recv(1 << 20):
                pass
        except BlockingIOError:
            return False
        except OSError:
            return True
        return not data


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


def test_lines_are_answered_in_order_however_they_come(desk):
    client = desk.client()
    for part in (b"ab", b"c\nde", b"\n\nlast\n"):
        client.sendall(part)
        desk.serve(3)
    assert desk.answered == [b"abc", b"de", b"", b"last"]
    assert client.recv(100) == b"xxx\nxx\n\nxxxx\n"
    client.sendall(b"one\ntwo\nhalf")
    client.shutdown(socket.SHUT_WR)
    desk.serve(6)
    assert desk.answered[4:] == [b"one", b"two"], "what was asked before the end is answered, what is half said is not"
    assert desk.gone(client) and not desk.server._clients


def test_who_does_not_read_is_never_waited_for_and_ends_after_a_while(desk):
    desk.size = 1 << 20
    deaf, other = [desk.client() for _ in range(10)], desk.client()
    for client in deaf:
        client.sendall(b"12345678\n" * 3)
    other.sendall(b"")
    desk.serve(5)
    assert len(desk.answered) == 10, "of each one line: what follows waits until its answer has been read"
    desk.size = 1
    other.sendall(b"abc\n")
    desk.serve()
    assert other.recv(100) == b"xxx\n"
    desk.now += PATIENCE_S + 1
    desk.serve()
    assert all(desk.gone(client) for client in deaf) and not desk.gone(other)


def test_who_reads_slowly_gets_everything(desk):
    desk.size = 1 << 20
    client = desk.client()
    client.sendall(b"123\n")
    got = b""
    while len(got) < 3 << 20:
        desk.now += PATIENCE_S - 1
        desk.serve(2)
        got += client.recv(1 << 20)
    assert got.rstrip(b"\n") == b"x" * (3 << 20)


def test_half_a_line_is_kept_for_a_while_and_a_long_one_not_at_all(desk):
    slow, long, idle = desk.client(), desk.client(), desk.client()
    slow.sendall(b'{"do"')
    long.setblocking(False)
    sent = 0
    desk.serve()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while sent <= 2 * LONGEST:
            try:
                sent += long.send(b"y" * 65536)
            except BlockingIOError:
                desk.serve()
    assert sent <= LONGEST + (1 << 20)
    desk.now += PATIENCE_S + 1
    desk.serve()
    assert desk.gone(slow) and not desk.gone(idle) and not desk.answered


def test_a_client_too_many_takes_the_place_of_the_one_that_has_rested_longest(desk):
    clients = []
    for _ in range(CLIENTS):
        clients.append(desk.client())
        desk.now += 1
        desk.serve()
    clients[0].sendall(b"a\n")
    desk.serve()
    clients.append(desk.client())
    desk.serve()
    assert len(desk.server._clients) == CLIENTS
    assert [desk.gone(c) for c in clients[:3]] == [False, True, False]


def test_what_all_hold_together_is_bounded(desk):
    desk.size = 1 << 21
    for _ in range(8):
        client = desk.client()
        client.sendall(b"12345678\n")
        desk.serve()
        assert sum(state.held for state in desk.server._clients.values()) <= HELD


def test_a_flood_of_lines_is_answered_a_few_at_a_time_and_each_client_in_turn(desk):
    flood, other = desk.client(), desk.client()
    flood.sendall(b"f\n" * 10_000)
    desk.serve()
    assert len(desk.answered) == BATCH
    other.sendall(b"other\n")
    desk.serve()
    assert b"other" in desk.answered[BATCH : BATCH + 3]
    desk.answer = desk.server._answer = lambda line: (
        setattr(desk, "now", desk.now + 0.003),
        desk.answered.append(line),
        b"",
    )[2]
    before = len(desk.answered)
    desk.serve()
    assert len(desk.answered) == before + 2, "no further one is begun after BUSY_S"


def test_clients_that_vanish_at_any_time_are_nobodys_trouble(desk):
    for sent in (b"", b"half", b"one\n", b"one\n" * 100):
        for serves in range(3):
            client = desk.client()
            client.sendall(sent)
            desk.serve(serves)
            client.close()
    desk.serve(200)
    assert not desk.server._clients


def test_no_descriptor_left_is_no_end(desk):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    desk.clients.append(client)
    client.connect(str(desk.path))
    free = os.dup(client.fileno())
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))  # the least free number is the first forbidden one
    try:
        desk.serve()
        assert not desk.server._clients
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    client.sendall(b"late\n")
    desk.serve(2)
    assert desk.answered == [b"late"]


def test_a_path_longer_than_a_socket_address_works(tmp_path):
    folder = tmp_path / ("long" * 30) / ("path" * 30)
    folder.mkdir(parents=True)
    desk = Desk(folder)
    client = desk.client()
    client.sendall(b"abc\n")
    desk.serve(2)
    assert client.recv(10) == b"xxx\n"
    desk.close()
    assert not list(folder.iterdir())
