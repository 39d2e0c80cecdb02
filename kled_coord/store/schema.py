"""Every table. A change here needs a migration in `migrations/versions`.

Secrets are hashed (`*_hash`) or sealed (`*_sealed`, see `sealing.py`); nothing else may hold one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, Index, MetaData, Table, text

metadata = MetaData()


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware UTC datetimes on both databases (SQLite forgets the zone)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Store UTC."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


def _key() -> Column[str]:
    return Column("id", sa.String(40), primary_key=True)


def _at(name: str, *, nullable: bool = True) -> Column[datetime]:
    return Column(name, UtcDateTime(), nullable=nullable)


def _only(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


users = Table(
    "users",
    metadata,
    _key(),
    Column("name", sa.String(40), nullable=False),
    Column("email", sa.String(320)),
    Column("role", sa.String(20), nullable=False),
    Column("password_hash", sa.String(255)),
    Column("suspended", sa.Boolean, nullable=False, default=False),
    # How often all that was opened for the user has been ended: see identity/grants.py.
    Column("endings", sa.Integer, nullable=False, default=0),
    _at("created_at", nullable=False),
    _at("last_seen_at"),
    _at("deleted_at"),
    # When the password was set, and by whom: another's hand in it is shown to the user.
    _at("password_set_at"),
    Column("password_set_by", sa.String(40)),
    # When a one-time code was used last: another may have made it.
    _at("code_used_at"),
    # Limits of this user alone, 0 for none; NULL: the settings'.
    Column("max_workspaces", sa.Integer),
    Column("max_waiting_builds", sa.Integer),
)
Index("users_name", users.c.name, unique=True, **_only("deleted_at IS NULL"))

tokens = Table(
    "tokens",
    metadata,
    _key(),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("name", sa.String(80), nullable=False),
    Column("scopes", sa.String(200), nullable=False),
    Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
    _at("created_at", nullable=False),
    _at("expires_at"),
    _at("last_used_at"),
    _at("revoked_at"),
)

login_codes = Table(
    "login_codes",
    metadata,
    Column("code_hash", sa.LargeBinary(32), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    _at("created_at", nullable=False),
    _at("expires_at", nullable=False),
    _at("used_at"),
)

# Where users have logged in from; an address as `kled_coord.addresses.holder_of` has it.
known_addresses = Table(
    "known_addresses",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("address", sa.String(64), primary_key=True),
    _at("seen_at", nullable=False),
)

templates = Table(
    "templates",
    metadata,
    _key(),
    Column("name", sa.String(40), nullable=False),
    Column("display_name", sa.String(255), nullable=False, server_default=""),
    Column("description", sa.Text, nullable=False, default=""),
    Column("icon", sa.String(255), nullable=False, server_default=""),
    Column("active_version_id", sa.String(40)),
    # Deadlines of this template alone, in seconds; NULL: the settings'.
    Column("check_deadline_s", sa.Integer),
    Column("build_quiet_s", sa.Integer),
    # After so many seconds without use its workspaces are stopped; NULL: never.
    Column("stop_after_s", sa.Integer),
    # Who may make workspaces of it: template_records.Template.
    Column("usable_by", sa.String(20), nullable=False, server_default="everybody"),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    _at("deleted_at"),
)
Index("templates_name", templates.c.name, unique=True, **_only("deleted_at IS NULL"))

template_versions = Table(
    "template_versions",
    metadata,
    _key(),
    Column("template_id", ForeignKey("templates.id"), nullable=False),
    Column("number", sa.Integer, nullable=False),
    # What its author calls it, if anything.
    Column("name", sa.String(40)),
    Column("message", sa.Text, nullable=False, default=""),
    Column("archive", sa.LargeBinary, nullable=False),
    # The variables it declares (template_records.Variable); NULL: not read yet, by a release
    # before these.
    Column("variables", sa.JSON(none_as_null=True)),
    # What its author has given to variables, as Terraform's source text by name; null: a sensitive
    # one, which is among the sealed.
    Column("fixed", sa.JSON(none_as_null=True)),
    Column("fixed_sealed", sa.LargeBinary),
    # What a start with the defaults asks for (template_records.TemplateParameter and
    # TemplatePreset); NULL: nobody has looked.
    Column("parameters", sa.JSON(none_as_null=True)),
    Column("presets", sa.JSON(none_as_null=True)),
    Column("readme", sa.Text, nullable=False, server_default=""),
    _at("created_at", nullable=False),
    Column("created_by", sa.String(40), nullable=False),
    # Nothing new is made of it from then on.
    _at("archived_at"),
    sa.UniqueConstraint("template_id", "number"),
    sa.Index("template_versions_name", "template_id", "name", unique=True),
)

workspaces = Table(
    "workspaces",
    metadata,
    _key(),
    Column("name", sa.String(40), nullable=False),
    Column("owner_id", ForeignKey("users.id"), nullable=False),
    Column("template_id", ForeignKey("templates.id"), nullable=False),
    # Version and parameters that were applied last (before the first time: those it began with).
    Column("version_id", ForeignKey("template_versions.id"), nullable=False),
    Column("status", sa.String(20), nullable=False),
    # Values by name; null: a sensitive one, which is among the sealed.
    Column("parameters", sa.JSON, nullable=False),
    Column("secrets_sealed", sa.LargeBinary),
    # What the template gave out, sensitive values left out; NULL: no build succeeded.
    Column("outputs", sa.JSON(none_as_null=True)),
    _at("created_at", nullable=False),
    _at("updated_at", nullable=False),
    _at("last_used_at"),
    _at("deleted_at"),
)
Index(
    "workspaces_name",
    workspaces.c.owner_id,
    workspaces.c.name,
    unique=True,
    **_only("deleted_at IS NULL"),
)

ACTIVE_BUILDS: Final = "status IN ('pending', 'running', 'canceling')"

builds = Table(
    "builds",
    metadata,
    _key(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("number", sa.Integer, nullable=False),
    Column("transition", sa.String(10), nullable=False),
    Column("status", sa.String(20), nullable=False),
    # The version of this build; the workspace takes it over when the build has succeeded.
    Column("version_id", ForeignKey("template_versions.id"), nullable=False),
    Column("parameters", sa.JSON, nullable=False),
    Column("secrets_sealed", sa.LargeBinary),
    # Names of parameters that are for this build alone; NULL: none.
    Column("ephemeral", sa.JSON(none_as_null=True)),
    # What the template notes on its resources, sensitive values left out; NULL: nothing.
    Column("notes", sa.JSON(none_as_null=True)),
    Column("orphan", sa.Boolean, nullable=False, default=False),
    # Of a restart's stop: the start that is queued once it has succeeded, as a NewBuild
    # (store/builds.py) has it; NULL: nothing follows.
    Column("then_start", sa.JSON(none_as_null=True)),
    Column("then_secrets_sealed", sa.LargeBinary),
    # Somebody does not want to wait for its clean stop.
    Column("forced", sa.Boolean, nullable=False, default=False),
    Column("error", sa.Text),
    # How long each step took (terraform/output/timings.py); NULL: nothing was measured.
    Column("timings", sa.JSON(none_as_null=True)),
    Column("progress_done", sa.Integer, nullable=False, default=0),
    Column("progress_total", sa.Integer, nullable=False, default=0),
    Column("progress_message", sa.Text, nullable=False, default=""),
    Column("created_by", sa.String(40), nullable=False),
    Column("worker", sa.String(80)),
    Column("secret_hash", sa.LargeBinary(32)),
    # Counted up by the worker for as long as it lives: see builds/leases.py.
    Column("lease", sa.Integer, nullable=False, default=0),
    _at("queued_at", nullable=False),
    _at("started_at"),
    _at("finished_at"),
    sa.UniqueConstraint("workspace_id", "number"),
)
# The schema itself refuses a second active build of one workspace.
Index("builds_active", builds.c.workspace_id, unique=True, **_only(ACTIVE_BUILDS))
Index("builds_queue", builds.c.status, builds.c.queued_at)

build_logs = Table(
    "build_logs",
    metadata,
    Column("build_id", ForeignKey("builds.id"), primary_key=True),
    Column("seq", sa.Integer, primary_key=True),
    _at("at", nullable=False),
    Column("level", sa.String(10), nullable=False),
    Column("text", sa.Text, nullable=False),
)

states = Table(
    "states",
    metadata,
    Column("workspace_id", ForeignKey("workspaces.id"), primary_key=True),
    Column("version", sa.Integer, primary_key=True),
    # "" for one that a user pushed, who is in `pushed_by`.
    Column("build_id", sa.String(40), nullable=False),
    Column("pushed_by", sa.String(40)),
    # NULL: Terraform deleted the state; the versions before are kept.
    Column("content_sealed", sa.LargeBinary),
    _at("created_at", nullable=False),
)

state_locks = Table(
    "state_locks",
    metadata,
    Column("workspace_id", ForeignKey("workspaces.id"), primary_key=True),
    Column("lock_id", sa.String(100), nullable=False),
    Column("info", sa.Text, nullable=False),
    Column("build_id", sa.String(40), nullable=False),
    _at("created_at", nullable=False),
)

agents = Table(
    "agents",
    metadata,
    _key(),
    Column("workspace_id", ForeignKey("workspaces.id"), nullable=False),
    Column("name", sa.String(80), nullable=False),
    Column("token_hash", sa.LargeBinary(32), nullable=False, unique=True),
    Column("token_sealed", sa.LargeBinary, nullable=False),
    Column("host_public_key", sa.Text),
    Column("version", sa.String(80)),
    Column("hostname", sa.String(255)),
    Column("os", sa.String(80)),
    Column("arch", sa.String(40)),
    Column("address", sa.String(80)),
    _at("created_at", nullable=False),
    _at("last_seen_at"),
    _at("revoked_at"),
    # What kled_agent in the template says about its sessions; NULL: nothing.
    Column("environment", sa.JSON(none_as_null=True)),
    Column("directory", sa.Text),
    # Of the kled_agent that made or adopted it last: only that one's destruction revokes it.
    Column("generation", sa.String(40), nullable=False, server_default=""),
    # What the template says of it, as the newest start that succeeded has applied it.
    Column("spec_sealed", sa.LargeBinary),
    # The `order` in it: among several agents the lowest is the main one.
    Column("position", sa.Integer, nullable=False, server_default="0"),
)
Index(
    "agents_name", agents.c.workspace_id, agents.c.name, unique=True, **_only("revoked_at IS NULL")
)

# When an agent first connected after a start had begun.
agent_arrivals = Table(
    "agent_arrivals",
    metadata,
    Column("build_id", ForeignKey("builds.id"), primary_key=True),
    Column("agent_id", ForeignKey("agents.id"), primary_key=True),
    _at("connected_at", nullable=False),
)

# The newest run of each script in each stage of a build; `run` is the agent's name for it.
script_runs = Table(
    "script_runs",
    metadata,
    Column("agent_id", ForeignKey("agents.id"), primary_key=True),
    Column("run", sa.String(40), primary_key=True),
    Column("build_id", ForeignKey("builds.id"), nullable=False, index=True),
    Column("script", sa.String(200), nullable=False),
    Column("name", sa.String(200), nullable=False),
    Column("stage", sa.String(10), nullable=False),
    Column("state", sa.String(20), nullable=False),
    Column("exit_code", sa.Integer),
    Column("note", sa.Text, nullable=False),
    Column("blocks_login", sa.Boolean, nullable=False),
    Column("position", sa.Integer, nullable=False),
    _at("started_at"),
    Column("duration_s", sa.Float, nullable=False),
)

# `data` is what was kept of `size` bytes from byte `start` on: without secrets, which makes it
# shorter or longer. What lies between two rows was too much to be kept.
script_output = Table(
    "script_output",
    metadata,
    Column("agent_id", sa.String(40), primary_key=True),
    Column("run", sa.String(40), primary_key=True),
    Column("start", sa.BigInteger, primary_key=True),
    Column("size", sa.Integer, nullable=False),
    Column("data", sa.LargeBinary, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    _key(),
    Column("workspace_id", sa.String(40), nullable=False, index=True),
    Column("user_id", sa.String(40), nullable=False),
    Column("kind", sa.String(20), nullable=False),
    Column("client_address", sa.String(80), nullable=False),
    _at("opened_at", nullable=False),
    _at("closed_at"),
    Column("bytes_to_agent", sa.BigInteger, nullable=False, default=0),
    Column("bytes_to_client", sa.BigInteger, nullable=False, default=0),
    Column("reason", sa.String(200)),
)
Index("sessions_opened_at", sessions.c.opened_at)

user_keys = Table(
    "user_keys",
    metadata,
    _key(),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    # NULL: good for every workspace of the user.
    Column("workspace_id", ForeignKey("workspaces.id")),
    Column("name", sa.String(80), nullable=False),
    Column("public_key", sa.Text, nullable=False),
    Column("fingerprint", sa.String(60), nullable=False),
    _at("created_at", nullable=False),
    _at("expires_at", nullable=False),
    _at("last_used_at"),
)

audit = Table(
    "audit",
    metadata,
    _key(),
    _at("at", nullable=False),
    Column("user_id", sa.String(40)),
    Column("user_name", sa.String(80)),
    Column("token_id", sa.String(40)),
    Column("action", sa.String(40), nullable=False),
    Column("resource", sa.String(120), nullable=False),
    Column("allowed", sa.Boolean, nullable=False),
    Column("detail", sa.Text, nullable=False, default=""),
)
Index("audit_at", audit.c.at)

ssh_ca = Table(
    "ssh_ca",
    metadata,
    _key(),
    Column("public_key", sa.Text, nullable=False),
    Column("private_key_sealed", sa.LargeBinary, nullable=False),
    _at("created_at", nullable=False),
)
