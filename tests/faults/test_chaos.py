# SPDX-License-Identifier: MIT
"""Every rogue beside victims' traffic; random ones for minutes; the same as an ordinary user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.harness import Bench
from tests.vre.platforms import needs_jail
from vre.chaos.runner import chosen, faults, run
from vre.chaos.victims import Harm
from vre.config.reader import load_model
from vre.errors import PlatformError

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = needs_jail


def lab(folder, routers=2, cores=1):
    """Write a platform file with so many victims."""
    text = f"[platform]\ncores = {cores}\n[nics.eth0]\nlink = {{ rate = {50_000 * routers} }}\n[nics.eth1]\n"
    for i in range(routers):
        text += (
            f"[routers.r{i}]\nentitlement = {i + 1}\n"
            'config = "FromDevice(eth0) -> Strip(14) -> CheckIPHeader -> Unstrip(14) -> Queue -> ToDevice(eth1);"\n'
            f'ports = {{ eth0 = {{ mac = "02:00:00:00:00:{i + 1:02x}" }} }}\n'
        )
    file = folder / "lab.toml"
    file.write_text(text)
    return file


def assert_contained(result):
    failed = [f"{f['name']}: {f['why']}" for f in result["faults"] if not f["contained"]]
    assert not failed and result["left"] == [] and result["pass"], (failed, result["left"])


@pytest.mark.parametrize("tier", ["strict", pytest.param("reduced", marks=pytest.mark.slow)])
def test_every_fault_is_contained(tmp_path, capsys, tried_tier, tier):
    if held := tried_tier(tier).error or tried_tier(tier).possible:
        pytest.skip(f"this host does not give the tier {tier}: {held}")
    model = load_model(lab(tmp_path))
    model.sandbox = tier
    result = run(model, (), lambda text: None)
    with capsys.disabled():
        print(f"\n{len(result['faults'])} faults run in tier {result['tier']}, {len(result['skipped'])} skipped")
    assert {f["name"] for f in result["faults"]} == set(faults())
    assert_contained(result)
    outcomes = {f["name"]: f["outcome"] for f in result["faults"]}
    # A check that cannot fail is none: what must be noticed has been, and what does no harm goes on.
    assert outcomes["polite"] == outcomes["network"] == outcomes["read_files"] == "harmless"
    assert outcomes["frozen"] == outcomes["forged_requests"] == outcomes["full_disk"] == "harmless"
    for name in ("ptrace", "truncate", "index_ahead", "replay", "kill_all"):
        assert outcomes[name] == "quarantined", (name, outcomes[name])
    for name in ("loop", "compiled_loop", "sleep", "held", "segfault", "silent_exit"):
        assert outcomes[name] in ("restarted", "quarantined"), (name, outcomes[name])
    noticed = {f["name"]: f["noticed_ms"] for f in result["faults"]}
    assert all(noticed[name] is not None for name in ("loop", "sleep", "segfault"))


def test_a_rogue_that_succeeds_is_reported(tmp_path, monkeypatch):
    rogue = tmp_path / "winner.py"
    rogue.write_text(
        '"""files: gets what it should not"""\nimport os\n\n\nclass Attack:\n    def push(self, packet):\n        os._exit(99)\n'
    )
    from vre.chaos.runner import Fault

    known = {"winner": Fault("winner", "files", "gets what it should not", rogue)}
    monkeypatch.setattr("vre.chaos.runner.faults", lambda: known)
    result = run(load_model(lab(tmp_path)), ("winner",), lambda text: None)
    assert not result["pass"] and "it got what it should not" in result["faults"][0]["why"]


def test_a_rogue_that_never_had_a_packet_is_not_said_to_be_contained(tmp_path, monkeypatch):
    monkeypatch.setattr("vre.chaos.runner._FED_S", 0.0)
    monkeypatch.setattr(
        "vre.chaos.runner._CONFIG", "Idle -> u :: Untrusted({file}:Attack) -> Discard; u[1] -> Discard;"
    )
    result = run(load_model(lab(tmp_path)), ("exception",), lambda text: None)
    assert not result["pass"] and "its domU got no packet" in result["faults"][0]["why"]


def test_nothing_is_judged_where_no_domu_works(tmp_path, monkeypatch):
    broken = tmp_path / "polite.py"
    broken.write_text("class Attack:\n    def push(self, packet):\n        raise ModuleNotFoundError('numpy.ma')\n")
    monkeypatch.setattr("vre.chaos.runner._WORKS_S", 1.0)
    monkeypatch.setattr("vre.chaos.runner._POLITE", broken)
    with pytest.raises(PlatformError, match="no fault can be judged here"):
        run(load_model(lab(tmp_path)), ("loop",), lambda text: None)


@pytest.mark.parametrize(("losses", "contained"), [((0.5, 0.0, 0.01), True), ((0.5, 0.0, 0.4), False)])
def test_a_loss_is_the_faults_where_it_comes_again(tmp_path, monkeypatch, losses, contained):
    left = iter(losses)
    monkeypatch.setattr("vre.chaos.victims.Victims.watch", lambda self, act: (act(), Harm(next(left)))[1])
    result = run(load_model(lab(tmp_path)), ("standby_killed",), lambda text: None)
    assert result["pass"] is contained and ("lost 40.0% more" in result["faults"][0]["why"]) is not contained


@pytest.mark.parametrize(
    "seconds", [20, pytest.param(600, marks=[pytest.mark.slow, pytest.mark.timeout(900)], id="ten minutes")]
)
def test_random_faults_among_four_routers(tmp_path, seconds):
    result = run(load_model(lab(tmp_path, 4, 2)), (), lambda text: None, seconds=seconds, seed=20080822)
    # Some take seconds: a router that is added for one may have to be compiled.
    assert len(result["faults"]) > seconds / 12
    assert_contained(result)


@pytest.fixture(scope="session")
def home():
    """Return an ordinary user's home: what one test has compiled is there for the next.

    It is none of pytest's folders: another run of it shuts the one that all of them are in.
    """
    with tempfile.TemporaryDirectory(prefix="vre-home-") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.fixture
def as_user(tmp_path, home):
    """Runs `vre` as an ordinary user."""
    if os.geteuid():
        pytest.skip("this run is an ordinary user's already")
    setpriv, python = shutil.which("setpriv"), Path("/usr/bin/python3")
    if not setpriv or not python.exists():
        pytest.skip("needs setpriv and a Python that every user can run")
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    paths = [str(REPOSITORY)]
    for number, path in enumerate(path for path in sys.path if path.endswith("-packages")):
        # By a symbolic link: in their jails, too, they are found as they are named here.
        paths.append(f"{home}/{number}-packages")
        if not os.path.lexists(paths[-1]):
            os.symlink(path, paths[-1])
    environment = {"HOME": str(home), "VRE_CACHE": f"{home}/cache", "VRE_RUN": f"{home}/run"}
    environment |= {"PYTHONPATH": ":".join(paths), "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin"}
    user = [setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", str(python)]
    probe = subprocess.run(
        [*user, "-c", "import numba, vre.chaos.runner"], env=environment, capture_output=True, text=True
    )
    if probe.returncode:
        pytest.skip(f"an ordinary user cannot run this checkout: {probe.stderr.strip().splitlines()[-1:]}")

    def vre(*arguments, **more):
        command = [*user, "-m", "vre", *map(str, arguments)]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=400)

    return vre


@pytest.mark.timeout(450)
def test_an_ordinary_user_is_as_safe(tmp_path, capsys, as_user):
    done = as_user("chaos", lab(tmp_path), "--json")
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    result = json.loads(done.stdout)
    with capsys.disabled():
        print(f"\n{len(result['faults'])} faults run as an ordinary user, {len(result['skipped'])} skipped")
    assert {f["name"] for f in result["faults"]} == set(faults())
    assert_contained(result)


def test_namespaces_may_come_from_bubblewrap(tmp_path, as_user):
    if not shutil.which("bwrap", path="/usr/bin:/bin"):
        pytest.skip("bubblewrap is not installed")
    done = as_user("doctor", VRE_NAMESPACES="bubblewrap")
    assert "none possible; namespaces from bubblewrap" in done.stdout, (done.stdout, done.stderr)
    names = ("polite", "kill_all", "forks", "network", "segfault", "loop")
    chosen_names = (word for name in names for word in ("--fault", name))
    done = as_user("chaos", lab(tmp_path), *chosen_names, "--json", VRE_NAMESPACES="bubblewrap")
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    result = json.loads(done.stdout)
    assert [f["name"] for f in result["faults"]] == list(names) and result["tier"] == "strict"
    assert_contained(result)


def test_without_a_jail_no_rogue_is_let_loose(tmp_path):
    model = load_model(lab(tmp_path))
    model.sandbox = "unsafe"
    with pytest.raises(PlatformError, match="without a jail no rogue is let loose"):
        run(model, ("kill_all",), lambda text: None)
    result = run(model, ("worker_killed", "forks"), lambda text: None)
    assert [f["name"] for f in result["faults"]] == ["worker_killed"]
    assert result["skipped"] == [{"name": "forks", "why": "it would run without a jail"}]


def test_a_fault_that_is_not_known_is_a_mistake():
    with pytest.raises(PlatformError, match="did you mean segfault"):
        chosen(("segfalt",))


def test_every_element_with_a_slow_path_is_sent_malformed_packets():
    from vre.chaos.dom0_faults import SLOW, malformed_config
    from workers.element import load

    assert {name for name, cls in load().items() if cls.slow is not None} == set(SLOW)
    with Bench(malformed_config()) as bench:
        for ms in range(1, 40):
            bench.clock(ms * 1_000_000)
            bench.settle()
        assert bench.reader.routers()[0].injected == 10 * (9 * len(SLOW) + 3) and "raised" not in bench.dropped
        bench.assert_sound()


def test_every_rogue_says_what_it_does_in_its_first_line():
    groups = {fault.group for fault in faults().values()}
    assert {
        "hang",
        "crash",
        "bomb",
        "ring",
        "race",
        "packets",
        "kernel",
        "memory",
        "signals",
        "files",
        "network",
        "dom0",
        "clock",
        "control",
        "streams",
        "resources",
        "changes",
    } <= groups
    assert len(faults()) >= 60
