"""Every setting, from flags, the environment (KLED_COORD_…) and a TOML file, in this order."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from kled_wire.errors import ConfigError
from kled_wire.hosts import bracketed
from kled_wire.transport.address import parse_url

ENV_PREFIX: Final = "KLED_COORD_"
CONFIG_VARIABLE: Final = "KLED_COORD_CONFIG"
SYSTEM_FILE: Final = Path("/etc/kled/coord.toml")
USER_FILE: Final = Path(".config/kled/coord.toml")
_DATABASE: Final = re.compile(r"(sqlite|postgres(ql)?(\+psycopg)?)://")
_SQLITE: Final = "sqlite:///"
_PASSWORD: Final = re.compile(r"(://[^:/@]*:)[^@]*@")


class CoordinatorConfig(BaseSettings):
    """The coordinator's settings. Times are seconds; a limit of 0 means none."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)
    # Where the settings were read from, if anywhere.
    settings_file: ClassVar[Path | None] = None

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".local/state/kled/coord",
        validate_default=True,
        description="Directory of the database, the sealing key and workspaces' processes.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(7080, ge=0, le=65535, description="TCP port to listen on; 0: any free one.")
    access_url: str = Field(
        "", description="Where clients and agents reach this coordinator; default from host, port."
    )
    database_url: str = Field(
        "", description="sqlite:///… or postgresql://…; default coord.sqlite3 in data_dir."
    )
    sealing_key_file: Path | None = Field(
        None, description="Key that seals state and secrets; default sealing.key in data_dir."
    )
    tls_cert_file: Path | None = Field(None, description="PEM certificate chain.")
    tls_key_file: Path | None = Field(None, description="PEM private key of tls_cert_file.")
    # NoDecode: pydantic would want JSON in the variable.
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (), description="Addresses and networks whose X-Forwarded-For says who the client is."
    )
    token_lifetime_s: float = Field(30 * 86400, gt=0, description="Default life of API tokens.")
    cert_lifetime_s: float = Field(600, ge=60, le=86400, description="Life of SSH certificates.")
    user_keys: bool = Field(
        True, description="Whether users may register public keys for clients without certificates."
    )
    workspaces_per_user: int = Field(
        0, ge=0, description="Workspaces one user may have; an admin may set others for one."
    )
    waiting_builds_per_user: int = Field(
        0, ge=0, description="Builds of one user that may wait; an admin may set others for one."
    )
    streams_per_user: int = Field(200, ge=1, description="Open streams one user may have.")
    streams_per_workspace: int = Field(100, ge=1, description="Open streams to one workspace.")
    stream_idle_s: float = Field(0, ge=0, description="A stream without bytes ends after this.")
    stream_absolute_s: float = Field(0, ge=0, description="Every stream ends after this.")
    bandwidth_per_user: int = Field(0, ge=0, description="Bytes a second in each direction.")
    bandwidth_per_workspace: int = Field(0, ge=0, description="As bandwidth_per_user.")
    relay_processes: int = Field(0, ge=0, le=1024, description="At most so many; 0: one per core.")
    offload_processes: int = Field(
        0,
        ge=0,
        le=1024,
        description="Terminate TLS and WebSockets; as relay_processes.",
    )
    workers: int = Field(2, ge=0, le=64, description="Builds that run at once.")
    check_deadline_s: float = Field(120, gt=0, description="How long a template's check may take.")
    build_quiet_s: float = Field(
        3600, ge=0, description="A build that has shown no progress for so long is stopped."
    )
    build_stop_s: float = Field(
        60, ge=0, description="How long Terraform may take to stop and save its state."
    )
    terraform_path: Path | None = Field(
        None, description="terraform or tofu to use; default from PATH, else the embedded one."
    )
    terraform_env_file: Path | None = Field(
        None, description="NAME=VALUE lines that Terraform gets: credentials of providers."
    )
    sandbox: Literal["auto", "bubblewrap", "off"] = Field(
        "auto",
        description="Confine Terraform, template checks and `kled_process`; auto: where it works.",
    )
    sandbox_paths: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Absolute paths that confined programs see too, read-only; sockets work."
    )
    metrics_public: bool = Field(False, description="Whether /metrics needs no token anywhere.")
    drain_s: float = Field(30, ge=0, description="Time that open connections get at SIGTERM.")
    restart_in_s: float = Field(
        1.0, ge=0, le=300, description="When agents dial again after a stop in good order."
    )
    logs_keep_days: float = Field(90, ge=0, description="Build logs are dropped after this.")
    states_keep: int = Field(50, ge=0, description="Versions of each Terraform state to keep.")
    log_format: Literal["json", "console"] = Field("console", description="Form of the log.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )

    @field_validator("data_dir")
    @classmethod
    def _resolve_data_dir(cls, value: Path) -> Path:
        # A sandbox mounts what lies in it by its path, which must lead through no link.
        return value.resolve()

    @field_validator("access_url")
    @classmethod
    def _check_access_url(cls, value: str) -> str:
        try:
            if value:
                parse_url(value)
        except ConfigError as exc:
            raise ValueError(exc.message) from exc
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        if value and not _DATABASE.match(value):
            raise ValueError("begins with sqlite:/// or postgresql://")
        return value

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _read_trusted_proxies(cls, value: object) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(part) for part in _listed(value))

    @field_validator("sandbox_paths", mode="before")
    @classmethod
    def _read_sandbox_paths(cls, value: object) -> tuple[Path, ...]:
        paths = tuple(Path(part) for part in _listed(value))
        for path in paths:
            if not path.is_absolute():
                raise ValueError(f"{path} is not an absolute path")
        return paths

    def with_defaults(self, port: int | None = None) -> CoordinatorConfig:
        """The same with the settings filled in that follow from others.

        `port` is the port that is really listened on; while it is unknown (`port = 0`), a default
        access URL stays empty.
        """
        tls = self.tls_cert_file is not None
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104
        port = self.port if port is None else port
        url = f"{'https' if tls else 'http'}://{bracketed(host)}:{port}" if port else ""
        return self.model_copy(
            update={
                "access_url": self.access_url or url,
                "database_url": self.database_url or f"sqlite:///{self.data_dir}/coord.sqlite3",
                "sealing_key_file": self.sealing_key_file or self.data_dir / "sealing.key",
            }
        )

    def private_paths(self) -> list[Path]:
        """What nobody else may read, where a setting says where it is; it need not be there."""
        full = self.with_defaults()
        found = [full.data_dir, full.sealing_key_file, full.tls_key_file, full.terraform_env_file]
        # It may hold the database's password.
        found.append(self.settings_file)
        if full.database_url.startswith(_SQLITE):
            database = full.database_url.removeprefix(_SQLITE)
            # Files of SQLite's own beside it: https://sqlite.org/tempfiles.html
            found += [Path(database + end) for end in ("", "-wal", "-shm", "-journal")]
        return [path for path in found if path is not None]

    @property
    def bundles(self) -> Path:
        """Where the agent's bundles are, for machines that fetch it."""
        return self.data_dir / "bundles"

    @property
    def processes(self) -> Path:
        """Where `kled_process` keeps its records and logs, in a directory for each workspace."""
        return self.data_dir / "processes"

    def shown(self) -> dict[str, str]:
        """The effective settings for people, passwords masked."""
        full = self.with_defaults()
        values = {name: str(getattr(full, name)) for name in CoordinatorConfig.model_fields}
        for name in ("trusted_proxies", "sandbox_paths"):
            values[name] = ", ".join(str(part) for part in getattr(full, name))
        values["database_url"] = _PASSWORD.sub(r"\1***@", full.database_url)
        return values


def _listed(value: object) -> list[str]:
    """The parts of a list, or of text with commas as it comes from the environment."""
    parts = value.split(",") if isinstance(value, str) and value else value or ()
    if not isinstance(parts, Iterable):
        raise ValueError("is a list")  # noqa: TRY004  # pydantic's
    return [str(part).strip() for part in parts]


def load_config(
    flags: Mapping[str, Any], *, file: Path | None, environment: Mapping[str, str]
) -> CoordinatorConfig:
    """Read the settings. `file` is what `--config` names. Raises ConfigError with the source.

    `environment` finds the file and names the source of an error; pydantic reads os.environ.
    """
    path = _config_file(file, environment)
    given = {name: value for name, value in flags.items() if value is not None}

    class WithFile(CoordinatorConfig):
        settings_file = path

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *sources: PydanticBaseSettingsSource,
            **named: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            first = super().settings_customise_sources(settings_cls, *sources, **named)[:2]
            return first if path is None else (*first, TomlConfigSettingsSource(settings_cls, path))

    try:
        config = WithFile(**given)
    except ValidationError as error:
        raise _named(error, given, environment, path) from error
    except ValueError as error:
        raise ConfigError("config_unreadable", f"{path}: {error}") from error
    if (config.tls_cert_file is None) != (config.tls_key_file is None):
        raise ConfigError("config_invalid", "tls_cert_file and tls_key_file: give both or neither")
    return config


def _config_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = file or (Path(environment[CONFIG_VARIABLE]) if CONFIG_VARIABLE in environment else None)
    if named is not None:
        if not os.access(named, os.R_OK):
            raise ConfigError("config_unreadable", f"cannot read the settings file {named}")
        return named
    home = Path(environment.get("HOME", "/"))
    return next((path for path in (SYSTEM_FILE, home / USER_FILE) if path.is_file()), None)


def _named(
    error: ValidationError, flags: Mapping[str, Any], env: Mapping[str, str], path: Path | None
) -> ConfigError:
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    variable = f"{ENV_PREFIX}{name.upper()}"
    if name in flags:
        source = f"the flag --{name.replace('_', '-')}"
    elif variable in env:
        source = f"the environment variable {variable}"
    else:
        source = f"the file {path}"
    what = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
    return ConfigError("config_invalid", f"{name}, from {source}: {what}")
