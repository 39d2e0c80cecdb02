"""`kled-coord`: runs the coordinator, and manages settings, database, keys, users and bundles."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial, reduce
from pathlib import Path
from typing import Any, Final

import click
import trio

from kled_coord.app import only_one, open_database, open_services, real_sources, serve
from kled_coord.builds.running.terraform import check_path
from kled_coord.bundles.store import BundleStore
from kled_coord.config import CONFIG_VARIABLE, CoordinatorConfig, load_config
from kled_coord.front.tls import open_certificates
from kled_coord.installing import check_machine, make_known, next_steps, place_files
from kled_coord.logs import set_up_logs
from kled_coord.rotation import confirm_rotation, old_key_file, rotate_sealing_key
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.setting_up import Initialized, initialize
from kled_coord.terraform.doctor import examine_provider
from kled_coord.terraform.process.envfile import load_environment
from kled_wire.errors import ConfigError
from kled_wire.version import PROTOCOL, SOFTWARE_VERSION

Command = Callable[..., Any]

_FLAGS: Final = (
    click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help=f"TOML file of settings. Also {CONFIG_VARIABLE}; default /etc/kled/coord.toml, then "
        "~/.config/kled/coord.toml.",
    ),
    click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        help="Directory of database, keys and processes.",
    ),
    click.option("--host", help="Address to listen on. Default 127.0.0.1."),
    click.option("--port", type=int, help="Port to listen on. Default 7080."),
    click.option("--access-url", help="URL at which clients and agents reach this coordinator."),
    click.option("--database-url", help="sqlite:///… or postgresql://…"),
    click.option("--log-format", type=click.Choice(["console", "json"])),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
)


def settings_flags(command: Command) -> Command:
    """Add the flags of the settings; the command gets one `config`, and the log is set up."""

    def with_config(*, file: Path | None, **given: Any) -> Any:
        flags = {
            name: given.pop(name) for name in list(given) if name in CoordinatorConfig.model_fields
        }
        config = load_config(flags, file=file, environment=os.environ)
        set_up_logs(form=config.log_format, level=config.log_level)
        return command(config=config, **given)

    with_config.__name__ = command.__name__
    with_config.__doc__ = command.__doc__
    with_config.__dict__.update(command.__dict__)
    return reduce(lambda decorated, flag: flag(decorated), reversed(_FLAGS), with_config)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(SOFTWARE_VERSION, message="%(prog)s %(version)s")
def main() -> None:
    """The coordinator of Kled: users, workspaces, builds and the relay.

    Settings are read from options, then KLED_COORD_… variables, then a TOML file; the first one
    found counts. Run `kled-coord init` once, then `kled-coord serve`.
    """


@main.command("serve")
@settings_flags
def serve_command(config: CoordinatorConfig) -> None:
    """Run the coordinator. The first SIGTERM drains it, the second one stops it."""
    trio.run(partial(serve, config, sources=real_sources(config)))


@main.command("init")
@click.option("--name", default="admin", show_default=True, help="Name of the first user.")
@click.option("--new-code", is_flag=True, help="Print a new one-time code if already initialised.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@settings_flags
def init_command(config: CoordinatorConfig, name: str, output: str, *, new_code: bool) -> None:
    """Create the data directory, the keys, the database and the first user.

    Prints a one-time code for the first login, valid for 24 hours. Safe to run again.
    """
    done = trio.run(_initialize, config, name, new_code)
    url = config.with_defaults().access_url
    if output == "json":
        click.echo(json.dumps({"url": url, "code": done.code, "user": done.user}))
        return
    if done.code is None:
        click.echo(f"already initialised: {config.data_dir} (--new-code prints a new code)")
        return
    click.echo(f"initialised {config.data_dir}; the first user is {done.user}, an owner")
    _echo_code(url, done.code)


@main.command("install")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    help="Write the files below DIRECTORY, and do nothing else.",
)
def install_command(root: Path) -> None:
    """Install a systemd unit, its user and a settings file. Needs root; safe to run again.

    The unit starts this installation of kled-coord. An existing settings file is not changed, and
    nothing is started.
    """
    program = Path(sys.prefix).resolve() / "bin" / "kled-coord"
    check_machine(root, program)
    for placed in place_files(root, program):
        click.echo(f"{placed.how}: {placed.path}")
    if root == Path("/"):
        make_known()
        click.echo(next_steps(program))


@main.command("check-config")
@settings_flags
def check_config_command(config: CoordinatorConfig) -> None:
    """Print the settings in effect.

    If a setting is invalid, or if the TLS files, the sandbox, terraform_path or terraform_env_file
    cannot be used, print one line with the setting and its source, and exit with code 2.
    """
    open_certificates(config.tls_cert_file, config.tls_key_file)
    if config.terraform_env_file is not None:
        load_environment(config.terraform_env_file)
    trio.run(check_path, config.terraform_path, os.environ)
    sandbox = trio.run(SandboxChoice(config).make)
    for name, value in config.shown().items():
        click.echo(f"{name} = {value}" + (f" ({sandbox.describe()})" if name == "sandbox" else ""))


@main.command("migrate")
@settings_flags
def migrate_command(config: CoordinatorConfig) -> None:
    """Migrate the database to the current schema.

    `serve` does the same when it starts.
    """
    trio.run(_migrate, config)
    click.echo("the database is up to date")


@main.command("rotate-sealing-key")
@click.option("--confirm", is_flag=True, help="Delete the old key of the last rotation.")
@settings_flags
def rotate_command(config: CoordinatorConfig, *, confirm: bool) -> None:
    """Encrypt all sealed values with a new key. The coordinator must be stopped.

    The old key is kept beside the new one until --confirm.
    """
    full = config.with_defaults()
    assert full.sealing_key_file is not None
    if confirm:
        trio.run(_confirm_rotation, full, full.sealing_key_file)
        click.echo("the old sealing key is deleted")
        return
    with only_one(full.data_dir):
        done = trio.run(_rotate, full, full.sealing_key_file)
    old = old_key_file(full.sealing_key_file)
    click.echo(f"sealed {done} values with a new key; back it up" if done else "finished")
    click.echo(f"The old key is {old}. Start the coordinator, see that all works, then\n")
    click.echo("  kled-coord rotate-sealing-key --confirm\n")
    click.echo("deletes it. Backups made before this need the old key.")


@main.group("user")
def user_group() -> None:
    """Manage users on the coordinator's machine."""


@user_group.command("reset-login")
@click.argument("name")
@settings_flags
def reset_login_command(config: CoordinatorConfig, name: str) -> None:
    """Print a new one-time code for the user NAME. Their password and tokens stay."""
    _echo_code(config.with_defaults().access_url, trio.run(_reset_login, config, name))


@main.group("bundle")
def bundle_group() -> None:
    """The agent's bundles, which machines and images fetch."""


@bundle_group.command("add")
@click.argument("packed", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@settings_flags
def bundle_add_command(config: CoordinatorConfig, *, packed: Path) -> None:
    """Keep a copy of FILE, as scripts/build-agent-bundle makes it; new scripts fetch it."""
    try:
        added = BundleStore(config.bundles).add(packed)
    except OSError as error:
        raise ConfigError("bundle_unreadable", f"{error.filename}: {error.strerror}") from error
    click.echo(f"{added.digest}  kled {added.version} for {added.architecture}")


@bundle_group.command("list")
@settings_flags
def bundle_list_command(config: CoordinatorConfig) -> None:
    """List the bundles, the newest first; * marks what new scripts fetch."""
    bundles = BundleStore(config.bundles)
    newest = set(bundles.newest().values())
    for each in bundles.list():
        mark = "*" if each.digest in newest else " "
        added = datetime.fromtimestamp(each.added, UTC).isoformat(timespec="seconds")
        size = f"{each.size / 1e6:.1f} MB"
        click.echo(f"{mark} {each.architecture}  {each.digest}  {size:>8}  {added}")


@main.command("doctor")
@click.argument("provider")
def doctor_command(provider: str) -> None:
    """Say what this machine has for the Terraform provider PROVIDER, and what will not work."""
    lines = trio.run(examine_provider, provider)
    for line in lines:
        click.echo(f"{line['state']:<8}{line['what']}: {line['text']}")
        if line["hint"]:
            click.echo(f"{'':<8}  {line['hint']}")
    sys.exit(int(any(line["state"] == "problem" for line in lines)))


@main.command("version")
def version_command() -> None:
    """Print the software and protocol versions."""
    click.echo(f"kled-coord {SOFTWARE_VERSION}, protocol {PROTOCOL}")


async def _initialize(config: CoordinatorConfig, name: str, new_code: bool) -> Initialized:
    async with open_services(config, real_sources(config)) as services:
        return await initialize(services, name, new_code=new_code)


async def _migrate(config: CoordinatorConfig) -> None:
    async with open_services(config, real_sources(config)):
        await trio.lowlevel.checkpoint()


async def _rotate(config: CoordinatorConfig, key_file: Path) -> int:
    async with open_database(config) as store:
        return await rotate_sealing_key(store, key_file, secrets.token_bytes)


async def _confirm_rotation(config: CoordinatorConfig, key_file: Path) -> None:
    async with open_database(config) as store:
        await confirm_rotation(store, key_file, secrets.token_bytes)


async def _reset_login(config: CoordinatorConfig, name: str) -> str:
    async with open_services(config, real_sources(config)) as services:
        return await services.logins.reset(name)


def _echo_code(url: str, code: str) -> None:
    click.echo(f"\nLog in with:\n\n  kled login {url}\n\nand give it this code, once:\n\n  {code}")
