"""A site: the real programs in a directory of their own, as one person would have them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.kit.processes import environment_of, running
from tests.kit.sockets import free_port, is_open
from tests.kit.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PROCESS_TEMPLATE = ROOT / "templates" / "process"
# What this machine's user has set must not reach the programs: the tests are about the defaults.
_KEPT = ("PATH", "LANG", "TF_CLI_CONFIG_FILE", "TF_PLUGIN_CACHE_DIR")
_END_S = 15.0
Done = subprocess.CompletedProcess[str]


@dataclass(kw_only=True)
class Site:
    """One coordinator and one user's client. Made by `open_site`."""

    root: Path
    port: int
    url: str
    env: dict[str, str]
    coordinator: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.root / "coordinator.log"

    @property
    def home(self) -> Path:
        """The person's home."""
        return self.root / "home"

    @property
    def data(self) -> Path:
        """The coordinator's data directory."""
        return Path(self.env["KLED_COORD_DATA_DIR"])

    @property
    def ssh_config(self) -> Path:
        """What `kled config-ssh` wrote."""
        return self.home / ".ssh" / "config"

    # --- the coordinator

    def serve(self, **settings: str) -> None:
        """Start it and wait until it is ready."""
        assert self.coordinator is None
        with self.log.open("ab") as out:
            self.coordinator = subprocess.Popen(
                [BIN / "kled-coord", "serve"],
                env={**self.env, **settings},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        wait_until("the coordinator listens", self._listens)

    def _listens(self) -> bool:
        assert self.coordinator is not None
        assert self.coordinator.poll() is None, self.log.read_text()[-3000:]
        return is_open(("127.0.0.1", self.port))

    def stop_serving(
        self, number: signal.Signals = signal.SIGTERM, *, within_s: float = _END_S
    ) -> None:
        """End the coordinator; the agents stay."""
        process, self.coordinator = self.coordinator, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the coordinator ignores {number.name}") from None

    # --- programs

    def run(
        self, *argv: str | Path, check: bool = True, timeout: float = 60, **options: Any
    ) -> Done:
        """Run a program as the person; with `check` it must succeed."""
        extra: Mapping[str, str] = options.pop("env", {})
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        done: Done = subprocess.run(
            argv,
            env={**self.env, **extra},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )
        assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stderr}"
        return done

    def kled(self, *words: str | Path, **options: Any) -> Done:
        """Run `kled`."""
        return self.run(BIN / "kled", *words, **options)

    def ask(self, *words: str) -> Any:
        """Run `kled --output json`; its answer."""
        return json.loads(self.kled("--output", "json", *words).stdout)

    def ssh(self, *words: str | Path, **options: Any) -> Done:
        """Run OpenSSH's `ssh` with the person's configuration, a connection of its own."""
        return self.run(*self.ssh_words(), *words, **options)

    def ssh_words(self) -> list[str]:
        """The beginning of an `ssh` command."""
        return ["ssh", "-F", str(self.ssh_config), "-S", "none"]

    @contextlib.contextmanager
    def running(self, *argv: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A program that runs meanwhile."""
        extra: Mapping[str, str] = options.pop("env", {})
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options}
        with subprocess.Popen(argv, env={**self.env, **extra}, **options) as process:
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()

    # --- what is there

    def agent(self, workspace: str) -> psutil.Process:
        """The agent of a workspace."""
        workspace_id = self.ask("show", workspace)["id"]
        found = running("kled_agent", self.processes())
        found = [p for p in found if workspace_of(p) == workspace_id]
        assert len(found) == 1, found
        return found[0]

    def relays(self) -> list[psutil.Process]:
        """The coordinator's relay processes."""
        return self._children("kled_coord.relay.splice.splicer")

    def offloads(self) -> list[psutil.Process]:
        """The coordinator's offload processes."""
        return self._children("kled_coord.offload.server")

    def _children(self, module: str) -> list[psutil.Process]:
        assert self.coordinator is not None
        return running(module, psutil.Process(self.coordinator.pid).children())

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on behalf of this site."""
        return [p for p in psutil.process_iter() if self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.pid == os.getpid():
            return False
        places = (str(self.root), str(self.data))
        values = environment_of(process).values()
        return any(place in value for value in values for place in places)

    def wait_connected(self, workspace: str, *, within_s: float = 30.0) -> None:
        """Until the workspace's agent is connected."""
        wait_until(
            f"the agent of {workspace} is connected",
            lambda: (self.ask("show", workspace)["agent"] or {}).get("status") == "connected",
            within_s=within_s,
        )


def workspace_of(agent: psutil.Process) -> str:
    """The id of an agent's workspace, from where it keeps its state; empty where it has ended."""
    return Path(environment_of(agent).get("KLED_AGENT_STATE_DIR", "")).parent.name


@contextlib.contextmanager
def open_site(
    *,
    settings: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    access_url: str = "",
    template: Path = PROCESS_TEMPLATE,
    name: str = "process",
) -> Iterator[Site]:
    """A site that serves, with the person logged in and one template. Nothing of it stays.

    `settings` are the coordinator's, `environment` everybody's; a `{port}` in `access_url` is
    filled in.
    """
    # Short: sockets have to fit into it.
    root = Path(tempfile.mkdtemp(prefix="kle2e"))
    port = int((settings or {}).get("KLED_COORD_PORT") or free_port())
    url = access_url.format(port=port) or f"http://127.0.0.1:{port}"
    env = {k: os.environ[k] for k in _KEPT if k in os.environ}
    env |= {
        "HOME": str(root / "home"),
        "KLED_KEYRING": "off",
        "KLED_COORD_DATA_DIR": str(root / "data"),
        "KLED_COORD_PORT": str(port),
        "KLED_COORD_ACCESS_URL": url,
        "KLED_COORD_DRAIN_S": "1",
        # The tests look at workspaces' files and programs from outside; test_sandbox.py does not.
        "KLED_COORD_SANDBOX": "off",
        **(settings or {}),
        **(environment or {}),
    }
    site = Site(root=root, port=port, url=url, env=env)
    site.home.mkdir()
    try:
        code = json.loads(site.run(BIN / "kled-coord", "init", "--output", "json").stdout)["code"]
        site.serve()
        site.kled("login", url, "--code", "-", input=code)
        site.kled("template", "push", template, "--name", name)
        site.kled("config-ssh")
        yield site
    finally:
        _close(site)


def _close(site: Site) -> None:
    """Delete the workspaces the ordinary way, then whatever is left; something left is an error."""
    try:
        if site.coordinator is not None:
            for workspace in site.ask("list", "--all"):
                ref = f"{workspace['name']}.{workspace['owner']}"
                site.kled("delete", ref, "--yes", check=False)
            site.stop_serving()
            # A shared connection of ssh lives on for as long as the configuration says.
            for process in site.processes():
                if process.name() == "ssh":
                    process.terminate()
            wait_until("no process is left", lambda: not site.processes(), within_s=5)
    finally:
        site.stop_serving(signal.SIGKILL)
        for process in site.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(site.root, ignore_errors=True)
