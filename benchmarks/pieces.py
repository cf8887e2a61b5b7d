# SPDX-License-Identifier: MIT
"""The pieces, each by itself, with pyperf: `python benchmarks/pieces.py --fast`, or `-o pieces.json`.

Rings, checksum, route lookup, one scheduling decision, and each element of the fast path: a path that makes
packets and drops them, with the element between; `path: none` is what the rest of it costs.
"""

from __future__ import annotations

import ctypes
import random
import sys
import time
from pathlib import Path

import pyperf

# pyperf runs this file again in processes of its own, from anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

IP_FRAME = (
    "\\<02 00 00 00 00 01 02 00 00 00 00 99 08 00 45 00 00 32 00 01 00 00 40 11 ed 66 c6 12 00 01 c6 13 00 01"
    " 00 01 00 09 00 1e 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00>"
)
QUANTUM = 128
#: Element to what stands between the source and Discard; IP elements get their header annotation first.
ELEMENTS = {
    "none": "Null",
    "Paint": "Paint(1)",
    "PaintTee": "p :: PaintTee(1); p[1] -> Discard; p[0]",
    "Counter": "Counter",
    "Classifier": "c :: Classifier(12/0806 20/0001, 12/0806 20/0002, 12/0800, -);"
    " c[0] -> Discard; c[1] -> Discard; c[3] -> Discard; c[2] -> Null",
    "Strip": "Strip(14)",
    "MarkIPHeader": "MarkIPHeader(14)",
    "CheckIPHeader": "Strip(14) -> CheckIPHeader",
    "GetIPAddress": "GetIPAddress(30)",
    "RadixIPLookup": "GetIPAddress(30) -> RadixIPLookup(198.19.0.0/16 0, 0/0 0)",
    "DropBroadcasts": "DropBroadcasts",
    "IPGWOptions": "MarkIPHeader(14) -> IPGWOptions(10.0.0.1)",
    "FixIPSrc": "FixIPSrc(10.0.0.1)",
    "DecIPTTL": "MarkIPHeader(14) -> DecIPTTL",
    "IPFragmenter": "IPFragmenter(1500)",
    "EtherEncap": "Strip(14) -> EtherEncap(0x0800, 2:0:0:0:0:1, 2:0:0:0:0:2)",
    "EtherMirror": "EtherMirror",
    "EtherRewrite": "EtherRewrite(2:0:0:0:0:1, 2:0:0:0:0:2)",
    "Queue and Unqueue": "Queue(200) -> Unqueue",
    "Tee": "t :: Tee(2); t[1] -> Discard; t[0]",
}


def timed_path(between: str):
    """Return a pyperf time function for a path, in packets."""
    from tests.harness import Bench
    from vre.language.checker import check
    from vre.language.lexer import Source
    from workers.compiler.compile import compile_shape

    config = f"InfiniteSource({IP_FRAME}) -> {between} -> Discard;"

    def run(loops: int) -> float:
        code = compile_shape(check(Source(config, "bench")).shape)
        with Bench(config, code=code) as bench:
            bench.turn(QUANTUM)
            begun = time.perf_counter()
            for _ in range(-(-loops // QUANTUM)):
                bench.turn(QUANTUM)
            return (time.perf_counter() - begun) * loops / (-(-loops // QUANTUM) * QUANTUM)

    return run


def timed_kernel(body: str, setup):
    """Return a pyperf time function for an expression over `a`, `b` and `i`, compiled into a loop."""

    def run(loops: int) -> float:
        import numba

        from shm import intrinsics, ring
        from shm.codegen import register_kernels
        from workers.datapath import checksum, fib

        register_kernels()
        names = {**vars(intrinsics), **vars(ring), **vars(checksum), **vars(fib)}
        text = f"def kernel(a, b, n):\n    t = 0\n    for i in range(n):\n        t += {body}\n    return t\n"
        exec(text, names)
        kernel = numba.njit(names["kernel"])
        a, b, keep = setup()
        kernel(a, b, 1)
        begun = time.perf_counter()
        kernel(a, b, loops)
        took = time.perf_counter() - begun
        del keep
        return took

    return run


def header():
    """Return the address of a buffer with an IP header."""
    keep = ctypes.create_string_buffer(bytes(range(64)), 64)
    return ctypes.addressof(keep), 0, keep


def routes():
    """Return a table with 100,000 routes, and random addresses to look up."""
    from workers.datapath.fib import Fib, chunks_for, table_bytes

    chance = random.Random(1)
    wanted = {(chance.getrandbits(32) & 0xFFFFFF00, 24) for _ in range(100_000)}
    chunks = chunks_for(wanted)
    keep = ctypes.create_string_buffer(table_bytes(chunks))
    Fib(ctypes.addressof(keep), chunks).load([(address, length, 0, 0) for address, length in wanted])
    probes = (ctypes.c_uint32 * 65536)(*[chance.choice(range(1 << 32)) for _ in range(65536)])
    return ctypes.addressof(keep), ctypes.addressof(probes), (keep, probes)


def timed_ring(loops: int) -> float:
    """Push and pop one packet through a ring: room, swap, commit, available, swap back, commit."""
    import numba

    from shm.codegen import register_kernels
    from shm.intrinsics import load64
    from shm.layout import CORE
    from shm.ring import available, next_pop, next_push, pop_to, publish, push_to, release, room, slot_at, swap
    from tests.harness import Bench

    register_kernels()

    @numba.njit
    def kernel(core, ring, word, count):
        for _ in range(count):
            if room(ring, 1):
                swap(core, slot_at(ring, next_push(ring)), word)
                push_to(ring, next_push(ring) + 1)
                publish(ring)
            if available(ring, 1):
                swap(core, slot_at(ring, next_pop(ring)), word)
                pop_to(ring, next_pop(ring) + 1)
                release(ring)

    with Bench("FromDevice(eth0) -> q :: Queue(64) -> ToDevice(eth1);") as bench:
        ring, word = int(bench.state("q")["ring"]), load64(bench.core + CORE["spare"])
        kernel(bench.core, ring, word, 1)
        begun = time.perf_counter()
        kernel(bench.core, ring, word, loops)
        return time.perf_counter() - begun


def timed_decision(loops: int) -> float:
    """Return the time of `loops` scheduling decisions among three routers."""
    from vre.bench.throughput import decision_ns

    return min(decision_ns(1)) * loops / 1e9


def main() -> None:
    """Run all pieces, or those that `--only TEXT` names."""

    def pass_on(command, options):
        if options.only:
            command += ["--only", options.only]

    runner = pyperf.Runner(add_cmdline_args=pass_on)
    runner.argparser.add_argument("--only", help="only pieces whose name holds this text")
    options = runner.parse_args()
    pieces = {
        "ring: push and pop": timed_ring,
        "checksum: IP header of 20 bytes": timed_kernel("is_right(a, 20)", header),
        "checksum: 1,500 bytes": timed_kernel("add_up(a, 1500)", big),
        "fib: lookup among 100,000 routes": timed_kernel("lookup(a, load32(b + (i & 65535) * 4))", routes),
        "scheduler: one decision": timed_decision,
    }
    pieces |= {f"path: {name}": timed_path(between) for name, between in ELEMENTS.items()}
    for name, function in pieces.items():
        if not options.only or options.only in name:
            runner.bench_time_func(name, function)


def big():
    """Return the address of 1,500 bytes."""
    keep = ctypes.create_string_buffer(1536)
    return ctypes.addressof(keep), 0, keep


if __name__ == "__main__":
    main()
