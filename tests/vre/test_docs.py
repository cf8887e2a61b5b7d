# SPDX-License-Identifier: MIT
"""What the documents show is run."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vre

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]


def blocks(document, language):
    """Return the code blocks of a document."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_the_platform_file_of_the_readme_runs(tmp_path):
    file = tmp_path / "lab.toml"
    file.write_text(blocks("README.md", "toml")[0])
    for line in blocks("README.md", "console")[0].splitlines():
        command = re.match(r"\$ vre (\S+) lab.toml", line)
        done = subprocess.run(
            [sys.executable, "-m", "vre", command[1], str(file), "--json"], capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
    routers = json.loads(done.stdout)["routers"]
    assert sum(r["injected"] for r in routers.values()) == 100_000
    assert (tmp_path / "out.pcapng").stat().st_size > 1000


def test_the_python_of_the_readme_runs():
    done = subprocess.run(
        [sys.executable, "-c", blocks("README.md", "python")[0]], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    forwarded, share = done.stdout.split()
    assert int(forwarded) > 0 and float(share) == 1.0


def test_the_element_of_the_guide_works(monkeypatch, tmp_path):
    from tests.harness import Bench
    from tests.workers.frames import udp
    from workers.element import REGISTRY, load

    load()
    (tmp_path / "guide_element.py").write_text(blocks("CONTRIBUTING.md", "python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("guide_element").Shorter
    monkeypatch.setitem(REGISTRY, "Shorter", cls)
    with Bench("FromDevice(eth0) -> Shorter(100) -> ToDevice(eth1);") as bench:
        assert len(bench.through(udp(size=60), udp(size=200))) == 1
        assert bench.dropped == {"too_long": 1}
        bench.assert_sound()


def test_the_version_is_in_one_place_and_has_its_changes():
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]
    assert f"## {vre.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_and_commands_that_documents_name_exist(document):
    from vre.cli.main import COMMANDS

    text = (ROOT / document).read_text()
    for path in re.findall(r"`((?:shm|workers|vre|tests|benchmarks)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    for command in re.findall(r"`vre ([a-z]+)", text):
        assert command in COMMANDS, command
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE):
        assert target in targets, target
    for path in re.findall(r"\]\((\w[\w./]*)\)", text):
        assert (ROOT / path).exists(), path


def test_every_file_names_its_licence_and_no_package_imports_upwards():
    files = [f for folder in ("shm", "workers", "vre", "tests", "benchmarks") for f in (ROOT / folder).rglob("*.py")]
    for file in files:
        text = file.read_text()
        assert not text or text.startswith("# SPDX-License-Identifier: MIT\n"), file
    done = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_the_result_of_the_readme_is_that_of_the_recorded_run():
    from benchmarks.figure import README, RECORDED, with_section

    assert README.read_text() == with_section(README.read_text(), json.loads(RECORDED.read_text()))
