"""scripts/bench: what fails or is killed leaves nothing, and what is missing is named."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.processes import running
from tests.kit.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
# A benchmark that starts what escapes its process group and its parent, and then goes on.
WORK = """
import subprocess, sys, tempfile, time
sys.path.insert(0, sys.argv[1])
from benchmarks.alone import run_alone

def work():
    orphan = "import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep(600)"
    subprocess.run([sys.executable, "-c", orphan, sys.argv[3]], check=True)
    tempfile.mkdtemp()
    print(tempfile.gettempdir(), flush=True)
    if sys.argv[2] == "fails":
        raise SystemExit("it does not work")
    time.sleep(600)

sys.exit(run_alone(work))
"""


def begin(how: str, mark: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WORK, str(ROOT / "scripts"), how, mark]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def living(mark: str) -> list[int]:
    return [process.pid for process in running(mark)]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_bench_that_is_killed_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with begin("goes on", str(tmp_path)) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip())
        assert directory.is_dir()
        assert len(living(str(tmp_path))) > 1
        process.send_signal(number)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    wait_until("all of it has ended", lambda: not living(str(tmp_path)))
    wait_until("its files are gone", lambda: not directory.exists())


@pytest.mark.slow
def test_a_bench_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with begin("fails", str(tmp_path)) as process:
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (2, "error: it does not work\n")
    assert not living(str(tmp_path))
    assert not Path(said.strip()).exists()


@pytest.mark.slow
def test_a_peer_that_is_missing_is_named(tmp_path: Path) -> None:
    """PATH without it, and nobody who could install it."""
    for name in ("bash", "dirname", "id"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run(
        [ROOT / "scripts" / "bench", "relay"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: to measure needs ssh")
    assert "apt install openssh-client" in done.stderr
