"""The script that fetches the agent, in every shell that images have."""

from __future__ import annotations

import hashlib
import http.server
import os
import platform
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.bundles.script import quote, render_script
from tests.coord.bundles.conftest import MakeBundle

pytestmark = pytest.mark.slow
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
SHELLS = (["dash"], ["busybox", "sh"], ["bash", "--posix"])
AGENT = b"""#!/bin/sh
[ "$1" = --version ] && exit
echo "runs as $$ for $KLED_COORDINATOR_URL with $KLED_AGENT_TOKEN in $PWD, A=$A" >>"$OUT"
trap "echo ended >>$OUT; exit 0" TERM
case $MODE in
    once) exit 3 ;;
    twice) [ -e "$OUT.again" ] && exit 2; : >"$OUT.again"; exit 1 ;;
    *) echo up; while :; do sleep 0.05; done ;;
esac
"""


class Coordinator:
    """Serves bundles as the real one does; the first `failures` requests fail."""

    def __init__(self) -> None:
        self.bundle, self.failures, self.asked = b"", 0, 0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked += 1
                if owner.failures:
                    owner.failures -= 1
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(owner.bundle)))
                self.end_headers()
                self.wfile.write(owner.bundle)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def coordinator(make_bundle: MakeBundle) -> Iterator[Coordinator]:
    made = Coordinator()
    made.bundle = make_bundle(**{"bin/kled-agent": AGENT}).read_bytes()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Start:
    """One way to start the script."""

    def __init__(self, coordinator: Coordinator, tmp_path: Path) -> None:
        self.coordinator, self.tmp_path = coordinator, tmp_path
        self.out = tmp_path / "out"
        self.digest = hashlib.sha256(coordinator.bundle).hexdigest()
        self.home = tmp_path / "home"
        self.home.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KLED_AGENT_TOKEN": "kled_agent_secret",
            "OUT": str(self.out),
        }

    def script(self, directory: str = "") -> str:
        digests = {ARCHITECTURE: self.digest}
        return render_script(self.coordinator.url, digests, {"A": "b'c $x \"`\\"}, directory)

    def run(self, shell: list[str], *, mode: str = "once") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*shell, "-c", self.script()],
            env={**self.env, "MODE": mode},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def start(coordinator: Coordinator, tmp_path: Path) -> Start:
    return Start(coordinator, tmp_path)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_it_fetches_checks_and_starts_the_agent(start: Start, shell: list[str]) -> None:
    done = start.run(shell)
    assert done.returncode == 1, done.stderr
    assert "refuses the token" in done.stderr
    said = start.out.read_text()
    assert f"for {start.coordinator.url} with kled_agent_secret in {start.home}" in said
    assert said.endswith("A=b'c $x \"`\\\n")
    assert "kled_agent_secret" not in done.stderr
    # From the cache the next time.
    assert (start.run(shell).returncode, start.coordinator.asked) == (1, 1)
    cached = start.home / ".cache/kled"
    assert sorted(path.name for path in cached.iterdir()) == [start.digest]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_it_hands_a_signal_on_and_starts_again_what_ended(start: Start, shell: list[str]) -> None:
    done = start.run(shell, mode="twice")
    assert "has ended (exit code 1) and is started again in 1 s" in done.stderr
    assert "cannot use its settings" in done.stderr
    start.out.unlink()
    argv = [*shell, "-c", start.script(directory="in/here")]
    with subprocess.Popen(argv, env=start.env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert f"in {start.home}/in/here" in start.out.read_text()
    assert start.out.read_text().endswith("ended\n")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_a_signal_before_the_next_start_ends_it(start: Start, shell: list[str]) -> None:
    argv, env = [*shell, "-c", start.script()], {**start.env, "MODE": "twice"}
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while "is started again in 1 s" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert start.out.read_text().count("runs as") == 1


def test_as_templates_wrap_it(start: Start) -> None:
    script = start.script()
    assert "'" not in script
    assert script.count(start.coordinator.url) == 1
    wrapped = f"sh -c '{script}'"
    env = {**start.env, "MODE": "once"}
    done = subprocess.run(wrapped, shell=True, env=env, capture_output=True, text=True, check=False)
    assert "refuses the token" in done.stderr, done.stderr


def test_a_coordinator_that_is_away_is_waited_for(start: Start) -> None:
    start.coordinator.failures = 1
    done = start.run(["dash"])
    assert "trying again in 1 s" in done.stderr
    assert "refuses the token" in done.stderr


@pytest.mark.parametrize("change", [lambda b: b + b"x", lambda b: b[:-9], lambda _: b""])
def test_what_was_changed_or_cut_on_the_way_is_not_started(
    start: Start, change: Callable[[bytes], bytes]
) -> None:
    start.coordinator.bundle = change(start.coordinator.bundle)
    done = start.run(["dash"])
    assert done.returncode == 1
    assert "is not the bundle" in done.stderr
    assert not start.out.exists()
    assert list((start.home / ".cache/kled").iterdir()) == []


def test_a_cache_that_is_broken_is_fetched_again(start: Start) -> None:
    broken = start.home / ".cache/kled" / start.digest / "kled-agent/bin"
    broken.mkdir(parents=True)
    assert "refuses the token" in start.run(["dash"]).stderr
    assert start.coordinator.asked == 1


def test_two_starts_at_once(start: Start) -> None:
    argv = ["dash", "-c", start.script()]
    env = {**start.env, "MODE": "once"}
    both = [subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for each in both:
        assert "refuses the token" in each.communicate(timeout=60)[1]
    assert [path.name for path in (start.home / ".cache/kled").iterdir()] == [start.digest]
    inside = start.home / ".cache/kled" / start.digest
    assert [path.name for path in inside.iterdir()] == ["kled-agent"]


WORDS = (
    "sh dash curl wget busybox sha256sum shasum openssl tar gzip uname mkdir rm mv chmod date "
    "sleep cat tail id mktemp rmdir"
)


def only(tmp_path: Path, *, without: tuple[str, ...]) -> str:
    """A PATH with few programs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in WORDS.split():
        if name not in without and (found := shutil.which(name)):
            (tools / name).symlink_to(found)
    return str(tools)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (("curl", "wget", "busybox"), "neither curl nor wget is here"),
        (("sha256sum", "busybox", "shasum", "openssl"), "nothing here can check a SHA-256"),
        (("tar", "busybox"), "tar is not here"),
    ],
)
def test_what_the_image_lacks_is_named(
    start: Start, missing: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    start.env["PATH"] = only(tmp_path, without=missing)
    done = start.run([str(shutil.which("dash"))])
    assert done.returncode == 1
    assert said in done.stderr
    assert not start.out.exists()


@pytest.mark.parametrize(
    "missing", [("curl",), ("curl", "wget", "sha256sum", "tar")], ids=["wget", "busybox"]
)
def test_it_needs_only_one_of_the_programs_that_can(
    start: Start, missing: tuple[str, ...], tmp_path: Path
) -> None:
    start.env["PATH"] = only(tmp_path, without=missing)
    assert "refuses the token" in start.run([str(shutil.which("dash"))]).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("kind", ["noexec", "ro", "size=8k"])
def test_a_home_that_may_hold_no_programs_is_passed_over(start: Start, kind: str) -> None:
    """Read-only and noexec homes; a full one is said, because it may be what its owner chose."""
    begin = f'mount -t tmpfs -o {kind},mode=755 none {start.home} && exec dash -c "$SCRIPT"'
    argv = ["unshare", "--mount", "sh", "-c", begin]
    env = {**start.env, "MODE": "once", "SCRIPT": start.script(), "TMPDIR": str(start.tmp_path)}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert ("refuses the token" in done.stderr) or ("cannot unpack" in done.stderr), done.stderr
    assert not list(start.tmp_path.glob("kled-*/.*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize(
    ("shared", "said"), [("exec", "refuses the token"), ("noexec", "may hold")]
)
def test_no_home_and_no_tmp_leave_one_place_or_are_said(
    start: Start, shared: str, said: str
) -> None:
    nothing = "".join(f"mount -t tmpfs -o ro none {each}; " for each in ("/tmp", "/var", "/opt"))
    begin = f'{nothing} mount -t tmpfs -o {shared} none /dev/shm; cd /tmp; exec dash -c "$SCRIPT"'
    env = {**start.env, "MODE": "once", "SCRIPT": start.script(), "HOME": "/proc/nowhere"}
    env["OUT"] = "/dev/null"
    argv = ["unshare", "--mount", "sh", "-euc", begin]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert said in done.stderr, done.stderr
    assert ("noexec" in done.stderr) == (shared == "noexec")


def pretending(start: Start, **programs: str) -> None:
    """Have programs of the image say something else."""
    tools = start.tmp_path / "pretending"
    tools.mkdir()
    for name, body in programs.items():
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    start.env["PATH"] = f"{tools}:{start.env['PATH']}"


@pytest.mark.parametrize(
    ("kernel", "is_enough"),
    [("4.18.0-553.el8", False), ("3.10.0", False), ("4.19.0", True), ("10.0-rc1", True)],
)
def test_a_kernel_that_is_too_old_is_said(start: Start, kernel: str, is_enough: bool) -> None:
    real = shutil.which("uname")
    pretending(start, uname=f'[ "$1" = -r ] && echo {kernel} || exec {real} "$@"')
    done = start.run(["dash"])
    too_old = f"the kernel is {kernel}: the agent needs Linux 4.19 or newer"
    assert (too_old in done.stderr) is not is_enough, done.stderr
    assert start.out.exists() is is_enough


def test_a_bundle_of_another_architecture_is_not_kept(
    start: Start, make_bundle: MakeBundle
) -> None:
    """Whoever mixed them up: its launcher is no program here."""
    other = {"amd64": "arm64", "arm64": "amd64"}[ARCHITECTURE]
    start.coordinator.bundle = make_bundle(other, name="other").read_bytes()
    start.digest = hashlib.sha256(start.coordinator.bundle).hexdigest()
    done = start.run(["dash"])
    assert done.returncode == 1
    assert "the agent does not start here" in done.stderr
    assert list((start.home / ".cache/kled").iterdir()) == []


def test_a_clock_that_is_years_off_is_said_where_tls_fails(start: Start) -> None:
    real = shutil.which("date")
    pretending(start, date=f'exec {real} -d 1999-01-01 "$@"', sleep="exit 1")
    script = render_script("https://127.0.0.1:9", {ARCHITECTURE: start.digest}, {}, "")
    argv = ["dash", "-c", script]
    done = subprocess.run(argv, env=start.env, capture_output=True, text=True, check=False)
    assert "the clock of this machine says" in done.stderr
    assert "set the clock" in done.stderr
    assert "trying again in 1 s" in done.stderr


def test_a_coordinator_without_that_bundle_is_asked_again_and_named(start: Start) -> None:
    start.coordinator.failures = 1
    pretending(start, sleep="exit 1")
    done = start.run(["dash"])
    assert f"cannot fetch {start.coordinator.url}/bin/{start.digest}" in done.stderr


def test_without_a_token_it_says_so(start: Start) -> None:
    del start.env["KLED_AGENT_TOKEN"]
    assert "KLED_AGENT_TOKEN is not set" in start.run(["dash"]).stderr
    start.env["CODER_AGENT_TOKEN"] = "kled_agent_secret"
    assert "refuses the token" in start.run(["dash"]).stderr


def test_a_machine_of_another_architecture(start: Start) -> None:
    script = render_script(start.coordinator.url, {}, {}, "")
    tools = start.tmp_path / "tools"
    tools.mkdir()
    for name in ("uname", "id", "cut"):
        (tools / name).symlink_to(str(shutil.which(name)))
    env = {**start.env, "PATH": str(tools)}
    argv = [str(shutil.which("dash")), "-c", script]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert "has no bundle for Linux" in done.stderr


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_quoted_text_is_one_word_of_the_shell(text: str) -> None:
    word = quote(text)
    assert "'" not in word
    done = subprocess.run(["dash", "-c", f'printf "%s." {word}'], capture_output=True, check=True)
    assert done.stdout == text.encode() + b"."
