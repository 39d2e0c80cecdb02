"""The agent's bundle in images of other systems: fetched by its script, or mounted."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.kit.image import alpine_like, debian, entered
from tests.kit.site import BIN, ROOT, Site, open_site
from tests.kit.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes namespaces and mounts"),
    pytest.mark.timeout(600),
]
TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
resource "kled_agent" "main" { dir = "work" }
output "init_script" { value = kled_agent.main.init_script }
"""
MakeRoot = Callable[[Path], Path]


@pytest.fixture(scope="session")
def unpacked(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    directory.chmod(0o755)
    with tarfile.open(packed) as tar:
        tar.extractall(directory)
    return directory / "kled-agent"


@pytest.fixture(scope="session")
def served(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A coordinator that has the bundle, and a workspace whose agent is to be started by hand."""
    with open_site() as opened:
        opened.run(BIN / "kled-coord", "bundle", "add", packed)
        template = tmp_path_factory.mktemp("template")
        (template / "main.tf").write_text(TEMPLATE)
        opened.kled("template", "push", template, "--name", "machine")
        opened.kled("create", "vm", "--template", "machine", "--no-wait")
        wait_until("its outputs", lambda: "init_script" in shown(opened), within_s=60)
        yield opened


def shown(site: Site) -> dict[str, dict[str, str]]:
    """The outputs of the workspace's template."""
    found: dict[str, dict[str, str]] = (
        json.loads(site.kled("show", "vm", "-o", "json").stdout)["outputs"] or {}
    )
    return found


def token(site: Site) -> str:
    site.kled("workspace", "agent-token", "vm", "--output-file", site.root / "token")
    return (site.root / "token").read_text().rpartition("KLED_AGENT_TOKEN=")[2].strip()


@contextlib.contextmanager
def started(
    site: Site,
    root: Path,
    *argv: str,
    user: str = "",
    bundle: Path | None = None,
    terminals: bool = True,
) -> Iterator[None]:
    """The agent in an image, connected."""
    vector, variables = entered(root, argv, bundle=bundle, user=user, terminals=terminals)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/ann" if user else "/root",
        "KLED_AGENT_TOKEN": token(site),
        "KLED_COORDINATOR_URL": site.url,
        # What an image may set and must not reach the agent.
        "LD_LIBRARY_PATH": "/lib",
        "PYTHONPATH": "/nowhere",
        "LANG": "de_DE.ISO-8859-1",
        **variables,
    }
    log = site.root / f"{root.name}.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(vector, env=env, stdout=said, stderr=said) as process,
    ):
        try:
            wait_until(
                "the agent is connected",
                lambda: is_connected(site) or process.poll() is not None,
                within_s=90,
            )
            assert process.poll() is None, log.read_text()
            yield
        finally:
            # Process 1 of the image: becoming another user has undone unshare's --kill-child.
            for child in psutil.Process(process.pid).children():
                child.kill()
            wait_until("the agent is gone", lambda: not is_connected(site))


def is_connected(site: Site) -> bool:
    """Whether the agent answers; the program need not be there."""
    return site.kled("exec", "vm", "--", "true", check=False).returncode in {0, 126, 127}


def check_workspace(site: Site, *, shell: bool = True) -> None:
    """What a person does in a workspace."""
    sent, got = site.root / "sent", site.root / "got"
    sent.write_bytes(os.urandom(1_000_000))
    site.kled("cp", sent, "vm:received")
    site.kled("cp", "vm:received", got)
    assert got.read_bytes() == sent.read_bytes()
    if not shell:
        return
    done = site.kled("exec", "vm", "--", "env")
    names = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert not [n for n in names if n.startswith(("LD_", "PYTHON", "LC_", "SSL_", "OPENSSL"))]
    assert "kled-agent/bin" not in done.stdout
    assert site.kled("exec", "vm", "--", "pwd").stdout.strip().endswith("/work")


def check_agent(site: Site) -> None:
    """Only the bundle's own files are in the agent, and it is called by its name."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if (status.parent / "comm").read_text() == "kled-agent\n":
                mapped = (status.parent / "maps").read_text().splitlines()
                files = {line.split(None, 5)[5] for line in mapped if line.count("/")}
                assert not [path for path in files if "/lib/" not in path], files
                assert not [path for path in files if path.startswith(("/lib", "/usr"))], files


IMAGES: dict[str, MakeRoot] = {
    "bullseye": lambda root: debian(root, "bullseye", "wget"),
    "trixie": lambda root: debian(root, "trixie", "curl"),
    "musl": alpine_like,
    "bookworm": lambda root: debian(root, "bookworm", "curl"),
    "sid": lambda root: debian(root, "sid", "curl"),
}
SELDOM = ("bookworm", "sid")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        pytest.param(name, make, id=name, marks=[pytest.mark.strangers] if name in SELDOM else [])
        for name, make in IMAGES.items()
    ],
)
def test_the_script_makes_any_image_a_workspace(
    served: Site, name: str, make: MakeRoot, tmp_path: Path
) -> None:
    root = make(tmp_path / name)
    script = shown(served)["init_script"]["value"]
    with started(served, root, "/bin/sh", "-c", script):
        check_workspace(served)
        check_agent(served)
        assert (root / "root/.cache/kled").is_dir()


def test_the_script_needs_no_root(served: Site, tmp_path: Path) -> None:
    root = alpine_like(tmp_path / "musl")
    script = shown(served)["init_script"]["value"]
    with started(served, root, "/bin/sh", "-c", script, user="1000:1000"):
        check_workspace(served)
        assert served.kled("exec", "vm", "--", "id", "-un").stdout == "ann\n"


def test_an_empty_image_with_the_bundle_mounted(
    served: Site, unpacked: Path, tmp_path: Path
) -> None:
    """No passwd, no hosts, no shell: files go to and fro, and a command says what is missing."""
    root = tmp_path / "empty"
    (root / "root").mkdir(parents=True)
    with started(served, root, "/opt/kled/bin/kled-agent", bundle=unpacked):
        done = served.kled("exec", "vm", "--", "true", check=False)
        assert "/bin/sh: No such file or directory" in done.stderr
        check_workspace(served, shell=False)


def test_an_image_without_terminals_says_so_and_runs_the_rest(
    served: Site, unpacked: Path, tmp_path: Path
) -> None:
    root = alpine_like(tmp_path / "musl")
    agent = "/opt/kled/bin/kled-agent"
    with started(served, root, agent, bundle=unpacked, terminals=False):
        for words in (["-t", "vm", "--", "true"], ["--session", "work", "vm"]):
            pipe = subprocess.PIPE  # an end of input would detach from the session
            with served.running(BIN / "kled", "ssh", *words, stdin=pipe, stderr=pipe) as process:
                assert process.stderr is not None
                (said,) = process.stderr.read().decode().splitlines()
                assert "no terminal can be opened: /dev/pts is not mounted" in said
                assert process.wait(timeout=10) != 0
        assert served.kled("ssh", "vm", "--", "echo", "here").stdout == "here\n"
        check_workspace(served, shell=False)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 is emulated on amd64")
def test_the_same_for_arm64_under_emulation(tmp_path: Path) -> None:
    """It starts and has its modules; qemu-user makes up too much of /proc for more."""
    if shutil.which("qemu-aarch64-static") is None:
        pytest.fail("qemu-aarch64-static is missing: apt install qemu-user-static")
    subprocess.run(
        [ROOT / "scripts/build-agent-bundle", "--arch", "arm64", "--output", tmp_path], check=True
    )
    with tarfile.open(tmp_path / "kled-agent-arm64.tar.gz") as tar:
        tar.extractall(tmp_path)
    library = tmp_path / "kled-agent/lib"
    argv: list[str | Path] = [
        "qemu-aarch64-static", library / "ld-linux-aarch64.so.1",
        "--argv0", tmp_path / "kled-agent/bin/kled-python", library / "python3.11.bin", "-I", "-S",
        "-c", "import kled_agent.app, kled_agent.ssh.server, os, ssl; print(os.uname().machine)",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == "aarch64\n"


def test_an_image_with_nothing_but_its_own_program_gets_an_agent_beside_it(
    unpacked: Path, tmp_path: Path
) -> None:
    """The supervisor, as process 1, where there is no shell and no Python."""
    root = tmp_path / "image"
    (root / "run").mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "busybox-only")
    said = root / "run" / "said"
    agent = {"argv": ["/opt/kled/bin/kled-agent", "--version"]}
    # As `tail` BusyBox waits for ever, whatever the file is called.
    command = {
        "argv": ["/busybox-only", "tail", "-f", "/dev/null"],
        "env": {"A": "b"},
        "user": "7:8",
    }
    (root / "run" / "job").write_text(json.dumps({"agent": agent, "command": command}))
    vector, variables = entered(root, ["/opt/kled/bin/kled-init", "/run/job"], bundle=unpacked)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": "/nowhere", **variables}
    with said.open("wb") as output, subprocess.Popen(vector, env=env, stdout=output) as process:
        wait_until("two agents", lambda: said.read_text().count("kled-agent ") >= 2, within_s=60)
        (one,) = psutil.Process(process.pid).children()
        (own,) = [c for c in one.children() if c.name() == "busybox-only"]
        assert one.name() == "kled-init"
        assert own.uids().real == 7
        assert own.environ()["A"] == "b"
        assert own.environ().keys() <= {"A", "HOME", "PATH"}
        assert one.memory_info().rss < 16_000_000
        own.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == 128 + signal.SIGKILL
