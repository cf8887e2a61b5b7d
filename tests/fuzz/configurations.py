# SPDX-License-Identifier: MIT
"""Platform files and Click texts, damaged, through `check`: `python -m tests.fuzz.configurations SECONDS [SEED]`.

Whatever comes of it is a model, or a list of mistakes that can be shown: no other exception, and no long wait.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from pathlib import Path

from vre.config.reader import load_model
from vre.errors import ConfigError
from vre.language.checker import check
from vre.language.lexer import Source

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = """[platform]
cores = 2
clock = "auto"
turn = "100us"
[nics]
eth0 = { link = { rate = "1Mpps", size = "imix", rates = { red = 5 } }, slots = 512, queues = "single" }
eth1.link = [
  { sink = true },  # the far end
]
[routers.red]
entitlement = 2.5
deadline = '50ms'
cores = [0, 1]
define = { N = "3", M = 4 }
config = \"\"\"
elementclass Path { $n | input -> Paint($n) -> c :: Counter -> output }
FromDevice(eth0) -> Path($N) -> t :: Tee(2) -> Queue(100) -> ToDevice(eth1); t[1] -> Discard;
StaticThreadSched(FromDevice@1 0); // both
\"\"\"
[routers.red.ports.eth0]
mac = "02:00:00:00:00:01"
vlan = 7
[[x.y]]
"""
#: What is put in anywhere.
PIECES = [
    *("->", "=>", "::", "[", "]", "[0-3]", "[1023]", "[99999]", "(", ")", "{", "}", "||", "|", "...", ",", ";", "$a", "${a-b}", "${a[1]}", "//", "/*", "*/"),
    *("elementclass", "define($a $b)", "require(library \"x\")", "input", "output", "Idle", "Tee(3)", "Queue", "Unqueue", "Counter", "# 5 \"f\"\n", "~>", "\\<00>"),
    *('"', "'", '"""', "'''", "=", ".", "\n", "\r", "\t", "\0", "\ufeff", "\u2028", "é", "１", "\ud7ff", "[a.b]", "[[a]]", "a = 1", "{ a = 1 }", "[1, 2]", "true"),
    *("0", "-1", "1e400", "nan", "inf", "99999999999999999999", "0x7f", "9" * 5000, "x" * 5000, "(" * 300, "{" * 300, "[" * 300, "'1s'", '"1Gbps"', '"50%"', '"*"'),
]  # fmt: skip


def corpus():
    """Return texts to begin with, and whether each is a platform file."""
    files = [*ROOT.glob("vre/demo/*.toml"), *ROOT.glob("vre/demo/*.click"), *ROOT.glob("vre/experiments/*.toml")]
    texts = [(file.read_text(), file.suffix == ".toml") for file in files]
    texts += [(block, True) for block in re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)]
    texts.append((PLATFORM, True))
    texts.append((PLATFORM.split('"""')[1], False))
    return texts


def damaged(text, others, chance):
    """Return a text with a few things wrong with it."""
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(text) + 1)
        to = min(len(text), at + chance.choice((1, 1, 5, 40, 400)))
        way = chance.randrange(7)
        if way == 0:
            text = text[:at] + text[to:]
        elif way == 1:
            text = text[:at] + chance.choice(PIECES) + text[at:]
        elif way == 2:
            text = text[:at] + chance.choice(PIECES) + text[to:]
        elif way == 3:
            text = text[:at] + text[at:to] * chance.choice((2, 3, 50)) + text[to:]
        elif way == 4:
            other = chance.choice(others)
            begin = chance.randrange(len(other) + 1)
            text = text[:at] + other[begin : begin + 200] + text[at:]
        elif way == 5:
            words = re.findall(r"\w+", text) or [""]
            text = text.replace(chance.choice(words), chance.choice(words), 1)
        else:
            text = re.sub(
                r"\d+", lambda found: chance.choice(("0", "-1", "1e9", str(1 << 63), found[0])), text, count=3
            )
    return text[: 1 << 18]


def run(seconds, seed, most=None):
    """Check damaged texts for a time; return how many, and how long the slowest took in seconds."""
    chance = random.Random(seed)
    texts = corpus()
    plain = [text for text, _ in texts]
    end, count, slowest = time.monotonic() + seconds, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lab.toml"
        while time.monotonic() < end and count != most:
            text, platform = chance.choice(texts)
            text = damaged(text, plain, chance)
            data = text.encode("utf-8", "surrogatepass")
            if chance.random() < 0.1:
                at = chance.randrange(len(data) + 1)
                data = data[:at] + chance.randbytes(3) + data[at:]
            file.write_bytes(data)
            begun = time.monotonic()
            try:
                if platform:
                    load_model(file)
                else:
                    check(Source(data.decode("utf-8", "replace"), str(file)))
            except ConfigError as error:
                for problem in error.problems:
                    assert str(problem) and len(str(problem)) < 10_000
                    problem.as_dict()
            except BaseException:
                print(f"seed {seed}, text {count}:\n{data!r}", file=sys.stderr)
                raise
            count, slowest = count + 1, max(slowest, time.monotonic() - begun)
    return count, slowest


if __name__ == "__main__":
    done, worst = run(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns())
    print(f"{done} configurations checked; the slowest took {worst:.1f} s")
