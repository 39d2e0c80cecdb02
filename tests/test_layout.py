"""The layout says what the system does: modules have tests, files and functions stay small."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("kled_wire", "kled_sync", "kled_agent", "kled_client", "kled_coord", "kled_provider")
FILE_LINES, FILE_LINES_MAX = 400, 600
FUNCTION_LINES_MAX = 60
# The store's record and the client's model of one thing share their name; nothing else does.
SHARED_NAMES = {
    "Build", "RegisteredKey", "Template", "Token", "User", "Variable", "Workspace",
}  # fmt: skip
SHARED_BY = {"kled_client/api/models.py", "kled_coord/store/records.py"}

# A module `kled_coord/front/head.py` is tested by `tests/coord/front/test_head.py`. These are
# tested elsewhere, because what they do shows only together: test file -> modules, or a whole
# folder with a slash at its end.
TESTED_BY = {
    "client/test_cli.py": """
        kled_client/__main__ kled_client/cli/ kled_client/account/credentials
        kled_client/report kled_client/account/files kled_client/api/build_log
        kled_client/output kled_client/api/models
    """,
    "client/copy/test_transfer.py": "kled_client/copy/sides",
    "client/test_output.py": "kled_client/tables",
    "client/forward/test_serve.py": """
        kled_client/forward/hold kled_client/forward/link kled_client/forward/view
    """,
    "e2e/test_forward_command.py": "kled_client/forward/ssh",
    "client/test_grammar.py": """
        kled_client/account/endpoint kled_client/terminal/escapes kled_client/copy/plan
    """,
    "client/test_keys.py": "kled_client/stream/listen",
    "wire/ssh/test_subsystems.py": "kled_client/ssh/ports",
    "client/ssh/test_connection.py": """
        kled_client/account/certificate kled_client/terminal/session
        kled_client/terminal/interrupt kled_client/ssh/channel kled_client/ssh/resumable
        kled_client/account/ssh_keys kled_client/terminal/tty
        kled_client/ssh/session_control
    """,
    "client/test_stream.py": """
        kled_client/stream/fdpass kled_client/account/http kled_client/stream/stdio
        kled_client/stream/websocket kled_client/stream/command
    """,
    "coord/api/test_api.py": "kled_coord/api/ kled_coord/workspaces/",
    "coord/front/test_listener.py": "kled_coord/front/tls",
    "coord/api/test_server.py": "kled_coord/front/asgi kled_coord/metrics",
    "coord/builds/test_builds.py": "kled_coord/builds/ kled_coord/services kled_coord/changes",
    "coord/ca/test_certificates.py": "kled_coord/ca/keys",
    "coord/identity/test_identity.py": "kled_coord/identity/",
    "coord/templates/test_opening.py": "kled_coord/templates/archive_process",
    "coord/front/test_http11.py": "kled_coord/front/mailbox kled_coord/front/refusing",
    "coord/policy/test_decide.py": "kled_coord/policy/actions kled_coord/policy/roles",
    "coord/store/test_engine.py": """
        kled_coord/store/migrate kled_coord/store/migrations/ kled_coord/store/schema
        kled_coord/store/records kled_coord/store/errors
    """,
    "coord/offload/test_process.py": "kled_coord/offload/layer",
    "coord/relay/splice/test_pool.py": "kled_coord/relay/splice/processes kled_coord/sidecars/pool",
    "coord/relay/splice/test_process.py": "kled_coord/environment kled_coord/sidecars/process",
    "coord/relay/splice/test_splicer.py": "kled_coord/sidecars/loop",
    # Queries only, each run by the tests of who asks, on both databases.
    "coord/conftest.py": "kled_coord/store/",
    "coord/builds/test_parameters.py": "kled_coord/templates/upgrade",
    "coord/templates/test_questions.py": "kled_coord/templates/choosing",
    "coord/templates/test_service.py": "kled_coord/templates/edits",
    "coord/templates/test_declarations.py": "kled_coord/terraform/hcl kled_coord/terraform/blocks",
    "coord/terraform/test_asking.py": "kled_coord/terraform/checking",
    "coord/terraform/test_run.py": "kled_coord/terraform/errors kled_coord/terraform/session",
    "coord/terraform/test_binary.py": "kled_coord/terraform/embedded",
    "coord/test_program.py": """
        kled_coord/__main__ kled_coord/app kled_coord/cli kled_coord/setting_up kled_coord/sources
        kled_coord/stopping
    """,
    "wire/transport/test_tls.py": "kled_wire/transport/tlssession",
    "provider/kled/test_processes.py": "kled_provider/kled/launcher",
    "provider/plugin/test_service.py": """
        kled_provider/plugin/operations kled_provider/plugin/resource
        kled_provider/plugin/messages
    """,
    "provider/coder/test_templates.py": "kled_provider/coder/",
    "provider/test_docs.py": "kled_provider/reference",
    "provider/test_every_shape.py": """
        kled_provider/plugin/checks kled_provider/plugin/validation
    """,
    "provider/kled/test_said.py": """
        kled_provider/kled/record kled_provider/kled/owner kled_provider/kled/provisioner
        kled_provider/kled/agent_schema
    """,
    "provider/test_parameters.py": """
        kled_provider/kled/parameter kled_provider/kled/preset kled_provider/kled/regex_process
    """,
    "provider/plugin/test_schema.py": "kled_provider/plugin/schema_message",
    "provider/test_standalone.py": """
        kled_provider/__main__ kled_provider/environment_host kled_provider/handshake
    """,
    "provider/test_with_terraform.py": """
        kled_provider/host kled_provider/kled/process kled_provider/kled/provider
        kled_provider/kled/workspace kled_provider/serve
    """,
    "wire/control/test_codec.py": "kled_wire/control/messages",
    "client/sync/test_background.py": """
        kled_client/sync/barrier kled_client/sync/control kled_client/sync/sessions
        kled_client/sync/supervise
    """,
    "client/sync/test_place.py": """
        kled_client/sync/copy kled_client/sync/itemize kled_client/sync/rules
        kled_sync/decide/target
    """,
    "e2e/test_sync.py": "kled_client/sync/reach",
    "sync/decide/test_operations.py": "kled_sync/decide/safety",
    "sync/decide/test_reconcile.py": "kled_sync/decide/guard kled_sync/decide/modes",
    "sync/ignore/test_rules.py": "kled_sync/ignore/pattern kled_sync/ignore/presets",
    "sync/session/test_once.py": """
        kled_sync/__main__ kled_sync/endpoint/ kled_sync/files/ kled_sync/session/
        kled_sync/watching/
    """,
    "sync/wire/test_messages.py": "kled_sync/tree/ kled_sync/wire/blocks kled_sync/wire/contents",
    "coord/relay/rendezvous/test_broker.py": "kled_coord/relay/rendezvous/meeting",
    "wire/resume/test_stream.py": "kled_wire/resume/handshake kled_wire/resume/redial",
    "test_docs.py": "kled_wire/limits",
    # Programs that only mean something with their peers: real ssh, real sockets, real processes.
    "agent/scripts/test_service.py": """
        kled_agent/scripts/login kled_agent/scripts/running kled_agent/scripts/runs
        kled_agent/scripts/telling kled_agent/scripts/metadata kled_agent/ssh/login_wait
    """,
    "coord/scripts/test_service.py": "kled_coord/scripts/ kled_coord/workspaces/specs",
    "agent/ssh/test_forwards.py": "kled_agent/ssh/subsystems/sftp_server",
    "agent/test_orphans.py": "kled_agent/descendants",
    "e2e/test_ssh.py": "kled_agent/ssh/ kled_agent/sessions/ kled_agent/users",
    "e2e/test_forwards.py": "kled_agent/tcp",
    "e2e/test_lifecycle.py": """
        kled_agent/__main__ kled_agent/app kled_agent/cli kled_agent/config kled_agent/identity
        kled_agent/orphans kled_agent/systemd kled_agent/control/ kled_agent/memory/
        kled_coord/control/ kled_coord/planes
    """,
    "e2e/test_network.py": """
        kled_coord/front/ kled_coord/relay/ kled_wire/transport/
    """,
}


@cache
def modules() -> tuple[Path, ...]:
    return tuple(
        path.relative_to(ROOT)
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name != "__init__.py"
    )


def sources() -> Iterator[Path]:
    for top in (*ROOMS, "scripts", "tests"):
        yield from sorted((ROOT / top).rglob("*.py"))


def mirror(module: Path) -> Path:
    room = module.parts[0].removeprefix("kled_")
    return ROOT / "tests" / room / Path(*module.parts[1:-1]) / f"test_{module.stem}.py"


def is_named(module: Path, row: str) -> bool:
    name = str(module.with_suffix(""))
    return name.startswith(row) if row.endswith("/") else name == row


def test_every_module_has_its_test() -> None:
    rows = [row for modules in TESTED_BY.values() for row in modules.split()]
    missing = [
        str(module)
        for module in modules()
        if not mirror(module).is_file() and not any(is_named(module, row) for row in rows)
    ]
    assert not missing, "no test of their own, and not in TESTED_BY"


@pytest.mark.parametrize("test", TESTED_BY)
def test_the_table_names_what_is_there(test: str) -> None:
    assert (ROOT / "tests" / test).is_file()
    stale = [
        row
        for row in TESTED_BY[test].split()
        if not any(is_named(module, row) for module in modules())
    ]
    assert not stale


def test_no_file_is_too_long() -> None:
    lengths = {p.relative_to(ROOT): len(p.read_text().splitlines()) for p in sources()}
    assert not {str(p): n for p, n in lengths.items() if n > FILE_LINES_MAX}
    long = [f"{p} ({n})" for p, n in lengths.items() if n > FILE_LINES]
    if long:
        with warnings.catch_warnings():
            # To be seen in the summary, not to fail: the budget has a margin for a reason.
            warnings.simplefilter("default")
            warnings.warn(f"over {FILE_LINES} lines: {', '.join(long)}", stacklevel=1)


def test_no_function_is_too_long() -> None:
    long = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({length})")
    assert not long


def test_no_class_name_stands_for_two_things() -> None:
    """Tests may name their own things as they like: the rooms and `scripts` are looked at."""
    assert len(SHARED_NAMES) <= 8
    places: dict[str, list[str]] = {}
    for path in sources():
        name = str(path.relative_to(ROOT))
        if not name.startswith("tests/"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(name)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    shared = {name for name, found in twice.items() if set(found) == SHARED_BY}
    assert {name: found for name, found in twice.items() if name not in shared} == {}
    assert shared == SHARED_NAMES


def test_no_test_file_is_empty() -> None:
    empty = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if not any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]
    assert not empty


def test_every_module_says_what_it_is_for() -> None:
    assert not [
        str(module) for module in modules() if not ast.get_docstring(ast.parse(read(module)))
    ]


def read(module: Path) -> str:
    return (ROOT / module).read_text()


def test_migrations_follow_each_other_one_by_one() -> None:
    """Two that were numbered alike on two branches would leave no way to upgrade."""
    directory = ROOT / "kled_coord/store/migrations/versions"
    names = sorted(path.name for path in directory.glob("0*.py"))
    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)], names
    for name in names[1:]:
        text = (directory / name).read_text()
        assert f'revision = "{name[:4]}"' in text, name
        assert f'down_revision = "{int(name[:4]) - 1:04}"' in text, name
