"""What a tree of processes costs, those that end in between included. CPU is asserted in wide bounds, time never."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.bench.job_cost import Watch, cost

BURN = (
    "import time\ndef burn(seconds):\n  end = time.process_time() + seconds\n  while time.process_time() < end: pass\n"
)
CHILD = BURN + "burn(0.5)\nprint('before', flush=True)\ninput()\nburn(0.5)\n"
PARENT = (
    "import subprocess, sys\nsubprocess.run([sys.executable, '-c', sys.argv[1]])\nprint('gone', flush=True)\ninput()\n"
)
SHORT = BURN + "held = bytearray(64 << 20)\nburn(0.4)\nprint('said')\n"


def test_a_child_that_ends_while_it_is_watched_counts_with_what_it_used_meanwhile() -> None:
    """It used 0.5 s before and 0.5 s after: the difference of the live processes' sums would be some −0.5 s."""
    command = [sys.executable, "-c", PARENT, CHILD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as parent:
        assert parent.stdin
        assert parent.stdout
        assert parent.stdout.readline() == "before\n"
        watch = Watch(parent.pid)
        parent.stdin.write("\n")
        assert parent.stdout.readline() == "gone\n"
        watch.stop()
        parent.stdin.write("\n")
    assert 0.2 < watch.cpu < 0.75


def test_a_command_costs_what_its_child_did(tmp_path: Path) -> None:
    given, log = tmp_path / "given", tmp_path / "log"
    given.write_text("\n")
    spent = cost([sys.executable, "-c", PARENT, SHORT], output=log, input=given)
    assert (spent.exit_code, spent.said) == (0, "said\ngone\n")
    assert spent.cpu >= 0.4
    assert 64 < spent.peak_mib < 200


def test_memory_of_the_last_moment_counts_however_seldom_it_is_looked_at() -> None:
    command = [
        sys.executable,
        "-c",
        "print(flush=True)\ninput()\nheld = bytearray(64 << 20)\nprint(flush=True)\ninput()",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        watch = Watch(process.pid, memory_every=3600)
        while not watch.peak_mib:
            time.sleep(0.01)
        first = watch.peak_mib
        process.stdin.write("\n")
        process.stdout.readline()
        watch.stop()
        process.stdin.write("\n")
    assert watch.peak_mib > first + 60
