# SPDX-License-Identifier: MIT
"""Packages that an interpreter reaches through symbolic links: they are in its jail, under the same names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.vre.platforms import element, forward, needs_jail, platform, wait_for, wait_for_packets
from workers.sandbox.folders import Readable, follow, reach

BODY = (
    "def __init__(self):\n"
    "    import numpy, numpy.polynomial.laguerre, aside, whole\n"
    "    for module in (aside, whole.part, numpy):\n        print(module.__file__)\n"
    "    for file in ('{0}/secret', '{0}/data/secret'):\n"
    "        try:\n            os.open(file, os.O_RDONLY)\n            print('opened', file)\n"
    "        except OSError:\n            pass\n"
    "def push(self, packet):\n    pass"
)


@pytest.fixture
def world():
    """Return a folder that every user can get to; another test run may shut the one for all temporary folders."""
    with tempfile.TemporaryDirectory(prefix="vre-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder).resolve()


@needs_jail
@pytest.mark.parametrize("tier", ["strict", "reduced"])
def test_what_is_imported_through_links_is_found_in_the_jail(world, tried_tier, tier, monkeypatch):
    if tried_tier(tier).error:
        pytest.skip(f"this host gives no {tier} jail: {tried_tier(tier).error}")
    installed, packages = Path(np.__file__).parents[1], world / "v5" / "more-packages"
    for folder in (packages, world / "elsewhere" / "whole", world / "data"):
        folder.mkdir(parents=True)
    (world / "current").symlink_to("v5")
    (world / "v5" / "site-packages").symlink_to(installed)
    (world / "elsewhere" / "aside.py").write_text("")
    (world / "elsewhere" / "whole" / "__init__.py").write_text("from whole import part\n")
    (world / "elsewhere" / "whole" / "part.py").write_text("NUMBER = 7\n")
    for name in ("aside.py", "whole"):
        (packages / name).symlink_to(f"../../elsewhere/{name}")
    # No package: nothing is imported from there.
    (packages / "data").symlink_to(world / "data")
    for folder in (world, world / "data"):
        (folder / "secret").write_text("")
    paths = [f"{world}/current/site-packages", f"{world}/current/more-packages", os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    mask = os.umask(0o077)
    try:
        with platform(sandbox=tier) as box:
            red = box.router("red", forward(element(world, BODY.format(world))))
            box.start()
            wait_for_packets(box, 100, red)
            wait_for(box, lambda: sum("its domU says: " in event for event in box.events) >= 3)
            said = [event.partition("its domU says: ")[2] for event in box.events]
    finally:
        os.umask(mask)
    files = ("more-packages/aside.py", "more-packages/whole/part.py", "site-packages/numpy/__init__.py")
    assert [line for line in said if line] == [f"{world}/current/{file}" for file in files]


def test_the_links_on_the_way_are_found_once_each_and_a_loop_is_none(tmp_path):
    real = Path(os.path.realpath(tmp_path))
    (real / "a" / "b").mkdir(parents=True)
    (real / "a" / "b" / "file").write_text("")
    (real / "one").symlink_to("two/b")
    (real / "two").symlink_to(f"{real}/a/../a")
    (real / "loop").symlink_to("loop")
    links: dict[str, str] = {}
    assert follow(f"{real}/one/./file", links) == f"{real}/a/b/file" == os.path.realpath(f"{real}/one/file")
    assert links == {f"{real}/one": "two/b", f"{real}/two": f"{real}/a/../a"}
    assert reach([f"{real}/one/file", f"{real}/a", f"{real}/loop", f"{real}/none"]) == Readable((f"{real}/a",), links)
    with pytest.raises(OSError, match="too many"):
        follow(f"{real}/loop", {})
    assert follow("/", {}) == "/"
