"""`kled up`: runs the forwards of a project's `.kled.toml`, in the foreground or as a service."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.forward import hold
from kled_client.forward.hold import ForwardPlan
from kled_client.forward.project import FILE_NAME, Project, parse_project, project_files
from kled_client.forward.service import UserService, plan_service
from kled_client.forward.trust import is_trusted, trust
from kled_client.terminal.interrupt import run
from kled_wire.errors import ConfigError, KledError, NotFoundError


@click.command()
@click.option("--install", "action", flag_value="install", help="Install a service of your user.")
@click.option("--uninstall", "action", flag_value="uninstall", help="Remove the service.")
@click.option("--trust", "trusted", is_flag=True, help="Confirm a new or changed file.")
@pass_invocation
def up(invocation: Invocation, action: str | None, trusted: bool) -> int:
    """Run the forwards and syncs in the .kled.toml of this directory or one above, until Ctrl-C.

    A new or changed file is shown and must be confirmed, because a repository may contain one.

    --install creates a systemd user unit (on macOS a launchd agent) that runs them while you are
    signed in to this machine.
    """
    path, project = load_project(Path.cwd())
    if action != "uninstall":
        _agree(invocation, path, trusted=trusted)
        _begin_syncs(invocation, path, project)
    if action is None:
        plan = ForwardPlan(forwards=project.forwards, auto=project.auto)
        return run(partial(hold, invocation, project.workspace, plan))
    service = _service(invocation, path.parent)
    if action == "install":
        _install(invocation, service)
    else:
        _uninstall(invocation, service)
    return 0


def _agree(invocation: Invocation, path: Path, *, trusted: bool) -> None:
    """Return where the file may be followed. Raises ConfigError("project_untrusted")."""
    text = path.read_text("utf-8")
    if is_trusted(invocation.env, path, text):
        return
    if not trusted:
        invocation.output.note(f"{path} is new, or has changed:\n\n{text}")
        if not sys.stdin.isatty() or not click.confirm("Follow it?", err=True):
            raise ConfigError(
                "project_untrusted",
                f"{path} is new, or has changed, and nobody has agreed to it",
                hint="read it, then kled up --trust",
            )
    trust(invocation.env, path, text)


def _begin_syncs(invocation: Invocation, path: Path, project: Project) -> None:
    """Let the background process keep what the file names. Raises KledError."""
    if not project.syncs:
        return
    from kled_client.sync.control import ask
    from kled_client.sync.project import same, session_of
    from kled_client.sync.sessions import SessionStore
    from kled_sync.files.root import sync_home

    store = SessionStore(sync_home(invocation.env))
    for sync in project.syncs:
        taken = [store.load(name) for name in store.names()]
        wanted = session_of(project, sync, path, invocation.profile_name, taken)
        known = [found for found in taken if found.name == wanted.name]
        if known and not same(known[0], wanted):
            ask(invocation.env, "stop", name=wanted.name)
            known = []
        if known:
            ask(invocation.env, "resume" if known[0].paused else "status", name=wanted.name)
        else:
            ask(invocation.env, "start", session=asdict(wanted))
        invocation.output.note(f"{wanted.name} is kept the same with {wanted.beta}")


def load_project(directory: Path) -> tuple[Path, Project]:
    """The nearest file. Raises NotFoundError("project_missing"), ConfigError."""
    for path in project_files(directory):
        if path.is_file():
            try:
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as exc:
                raise ConfigError("project_invalid", f"{path} cannot be read: {exc}") from exc
            return path, parse_project(text, str(path))
    raise NotFoundError(
        "project_missing",
        f"there is no {FILE_NAME} in {directory} or above",
        hint="docs/cli.md, Projects, shows one",
    )


def _service(invocation: Invocation, directory: Path) -> UserService:
    return plan_service(
        directory,
        [*invocation.command(), "up"],
        invocation.env,
        home=Path.home(),
        macos=sys.platform == "darwin",
    )


def _install(invocation: Invocation, service: UserService) -> None:
    _call(service.probe)
    try:
        earlier = service.path.read_bytes() if service.path.exists() else None
        service.path.parent.mkdir(parents=True, exist_ok=True)
        service.path.write_bytes(service.content)
    except OSError as exc:
        raise ConfigError(
            "config_not_writable", f"{service.path} cannot be written: {exc.strerror}"
        ) from exc
    try:
        for command in service.start:
            _call(command)
    except KledError:
        _take_back(service, earlier)
        raise
    invocation.output.note(f"{service.name} is installed and runs; kled up --uninstall removes it")
    invocation.output.record({"service": service.name, "path": str(service.path)}, {
        "service": service.name, "file": str(service.path)
    })  # fmt: skip


def _take_back(service: UserService, earlier: bytes | None) -> None:
    """Leave what was there before an installation that failed."""
    if earlier is not None:
        service.path.write_bytes(earlier)
        return
    for command in service.stop:
        with suppress(KledError):
            _call(command)
    service.path.unlink(missing_ok=True)


def _uninstall(invocation: Invocation, service: UserService) -> None:
    if not service.path.exists():
        raise NotFoundError("service_missing", f"there is no service {service.name}")
    for command in service.stop:
        _call(command)
    service.path.unlink(missing_ok=True)
    invocation.output.note(f"{service.name} is removed")


def _call(command: tuple[str, ...]) -> None:
    """Raise KledError("service_failed") with the command's own words."""
    if shutil.which(command[0]) is None:
        raise KledError(
            "service_failed",
            f"{command[0]} is not installed",
            hint="run `kled up` in this directory by other means",
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
        raise KledError(
            "service_failed",
            f"{' '.join(command)}: {words}",
            hint="systemd needs a session of yours: sign in by ssh or at the machine, not by su, "
            "or have root run `loginctl enable-linger` for you"
            if "bus" in words or "XDG_RUNTIME_DIR" in words
            else None,
        )
