"""`kled cp` against a real far end: names, halves, links, what cannot be copied."""

from __future__ import annotations

import getpass
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.conftest import ROOT, Kled, one_line
from tests.client.fake import Fake
from tests.kit.waiting import wait_until

NAMES = [
    b"a\\b",
    b"new\nline",
    b"\xff\xfe",
    b" ",
    "ü".encode(),
    b"-r",
    b"~",
    b"\x1b[31m",
    b"x" * 255,
]


@pytest.fixture
def agent(signed_in: Fake) -> Fake:
    signed_in.stream = "ssh"
    return signed_in


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Every name that a Linux directory can hold, directories and links."""
    top = tmp_path / "tree"
    for place in (top, top / "below"):
        place.mkdir()
        for name in NAMES:
            (place / os.fsdecode(name)).write_bytes(name * 3)
    (top / "empty").mkdir(mode=0o750)
    (top / "absolute").symlink_to("/nowhere")
    (top / "up").symlink_to("../outside")
    os.utime(top / "below", (1_000_000_000, 1_000_000_000))
    return top


def same(one: Path, other: Path) -> bool:
    words = ["diff", "-r", "--no-dereference", str(one), str(other)]
    assert (one / "below").stat().st_mtime == (other / "below").stat().st_mtime
    assert (one / "empty").stat().st_mode == (other / "empty").stat().st_mode
    return subprocess.run(words, check=False).returncode == 0


def test_every_name_there_and_back(agent: Fake, kled: Kled, tree: Path, tmp_path: Path) -> None:
    up = kled("cp", "-r", str(tree), f"dev:{tmp_path}/there")
    assert (up.returncode, up.stderr.count(b"\n")) == (0, 1), up.stderr
    assert f"copied {2 * len(NAMES)} files, ".encode() in up.stderr
    assert same(tree, tmp_path / "there")
    # Once more, over what is there.
    down = kled("--output", "json", "cp", "-r", f"dev:{tmp_path}/there/.", str(tree))
    assert down.returncode == 0, down.stderr
    assert json.loads(down.stdout)["bytes"] == 6 * sum(map(len, NAMES))
    assert same(tree, tmp_path / "there")


def test_what_cannot_be_copied_is_named_and_the_rest_is_copied(
    agent: Fake, kled: Kled, tree: Path, tmp_path: Path
) -> None:
    os.mkfifo(tree / "fifo")
    done = kled("cp", "-r", str(tree), f"dev:{tmp_path}/there")
    assert done.returncode == 1
    assert f"error: {tree}/fifo: a FIFO is not copied\n".encode() in done.stderr
    (tree / "fifo").unlink()
    assert same(tree, tmp_path / "there")
    os.mkfifo(tree / "fifo")
    os.mkfifo(tree / "fifo 2")
    done = kled("cp", "-r", str(tree), f"dev:{tmp_path}/there")
    assert done.stderr.endswith(b"error: 2 paths could not be copied\n")


def test_the_side_that_refuses_is_named(agent: Fake, kled: Kled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = kled("cp", str(tmp_path / "file"), "dev:/proc/")
    assert "error: dev:/proc/: nothing can be staged for /proc/file" in one_line(done.stderr)
    done = kled("cp", f"dev:{tmp_path}/file", "/proc/")
    assert "error: /proc/: nothing can be staged for /proc/file" in one_line(done.stderr)
    done = kled("cp", str(tmp_path / "file"), f"dev:{tmp_path}/none/")
    assert one_line(done.stderr) == f"error: dev:{tmp_path}/none/ is not a directory\n"
    done = kled("cp", str(tmp_path / "file"), "dev:~nobody-at-all/x")
    assert done.returncode == 4
    assert "no such user there" in one_line(done.stderr)


def test_homes_there(agent: Fake, kled: Kled, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    home = Path(f"~{getpass.getuser()}").expanduser()
    name = f".kled-test-{os.getpid()}"
    try:
        done = kled("cp", str(tmp_path / "file"), f"dev:~{getpass.getuser()}/{name}")
        assert done.returncode == 0, done.stderr
        assert (home / name).read_text() == "x"
    finally:
        (home / name).unlink(missing_ok=True)


def test_a_link_that_names_the_target_stays_and_what_is_no_file_is_not_replaced(
    agent: Fake, kled: Kled, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("new")
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    assert kled("cp", str(tmp_path / "file"), f"dev:{tmp_path}/link").returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    done = kled("cp", f"dev:{tmp_path}/file", str(tmp_path / "pipe"))
    assert one_line(done.stderr).endswith(f"error: {tmp_path}/pipe: a FIFO is not copied\n")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.slow
@pytest.mark.parametrize("upload", [True, False])
def test_ctrl_c_is_130_and_leaves_nothing(agent: Fake, tmp_path: Path, upload: bool) -> None:
    source, there = tmp_path / "big", tmp_path / "there"
    with source.open("wb") as file:
        for _ in range(256):
            file.write(b"x" * 1_000_000)
    there.mkdir()
    ends = (str(source), f"dev:{there}/") if upload else (f"dev:{source}", str(there))
    with subprocess.Popen(
        [sys.executable, "-m", "kled_client", "cp", *ends],
        env={**agent.env(), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    ) as process:
        wait_until("it has begun", lambda: any(there.iterdir()))
        assert not (there / "big").exists()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 130
    assert list(there.iterdir()) == []
