# SPDX-License-Identifier: MIT
"""The tiers of jail that this host supports: each forbidden operation is tried in a throw-away jail."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from vre.domu.zygote import DomuZygote
from vre.errors import PlatformError
from workers.domu.spec import DomuSpec, Probe
from workers.sandbox.jail import FIRST_UID
from workers.sandbox.probe import FATAL
from workers.zygote.domu_messages import Exited, Unforked

_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Tried:
    """The result of probing a tier: `error` if it is not available; `possible` lists operations that worked."""

    tier: str
    error: str
    refused: tuple[str, ...] = ()
    possible: tuple[str, ...] = ()
    namespaces: str = ""


def try_tier(tier: str) -> Tried:
    """Build jails of a tier, and try the forbidden operations in them."""
    zygote = DomuZygote(lambda text: None)
    refused: list[str] = []
    possible: list[str] = []
    try:
        zygote.await_ready(tier)
        with tempfile.TemporaryDirectory(prefix="vre-jail-") as root:
            for name in (None, *[attempt.__name__ for attempt in FATAL]):
                answer, status = _probe(zygote, tier, root, name)
                if "unjailed" in answer or "failed" in answer:
                    return Tried(tier, answer.get("unjailed") or answer["failed"])
                if name and status == -signal.SIGSYS:
                    refused.append(name)
                for what, succeeded in answer.get("probed", {}).items():
                    (possible if succeeded else refused).append(what)
    except (OSError, PlatformError) as error:
        return Tried(tier, str(error))
    finally:
        zygote.end()
    return Tried(tier, "", tuple(refused), tuple(possible), zygote.namespaces)


def _probe(zygote: DomuZygote, tier: str, root: str, name: str | None) -> tuple[dict[str, Any], int]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.open(os.devnull, os.O_WRONLY)
    spec = DomuSpec(
        domu="probe",
        tier=tier,
        uid=FIRST_UID - 1 if os.geteuid() == 0 else None,
        root=root,
        memory=128 << 20,
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        probe=Probe(name),
    )
    zygote.send(spec, [theirs.fileno(), log])
    theirs.close()
    os.close(log)
    answer: dict[str, Any] = {}
    with ours:
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            for said in zygote.messages():
                if isinstance(said, Unforked):
                    answer["failed"] = said.why
                if isinstance(said, Exited):
                    ready, _, _ = select.select([ours], [], [], 0)
                    data = ours.recv(4096) if ready else b""
                    return answer | (json.loads(data) if data else {}), said.status
            time.sleep(0.002)
    return {"failed": "the jail does not answer"}, 0


def best() -> tuple[str, list[Tried]]:
    """Return the strongest tier that holds here, or "unsafe"; and the results of all probes."""
    tried = []
    for tier in ("strict", "reduced"):
        tried.append(try_tier(tier))
        if not tried[-1].error and not tried[-1].possible:
            return tier, tried
    return "unsafe", tried
