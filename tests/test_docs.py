"""The documentation names what the code has: errors, settings, metrics, messages, commands."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from kled_agent.config import ENVIRONMENT
from kled_client.cli.main import cli
from kled_coord.api.app import _MODULES
from kled_coord.cli import main as kled_coord
from kled_coord.config import ENV_PREFIX, CoordinatorConfig
from kled_coord.metrics import Metrics
from kled_coord.relay.splice.handover import Close, Moved, Open, StopRelay, StreamDone
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import CloseCode
from kled_wire.errors import KledError

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Started as scripts, or without the packages of their extra.
NOT_IMPORTED = {"__main__.py", "launcher.py", "embedded.py"}
Codes = dict[str, set[tuple[int, int]]]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def section(name: str, heading: str) -> str:
    return page(name).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_error_code_is_documented_with_its_status_and_exit_code() -> None:
    documented = {
        cells[0].strip("`"): (cells[1], cells[2])
        for cells in rows(page("errors.md"))
        if re.fullmatch(r"`[a-z0-9_]+`", cells[0])
    }
    wanted = {
        code: tuple(
            ", ".join(str(n) for n in sorted(set(numbers))) for numbers in zip(*pairs, strict=True)
        )
        for code, pairs in codes_in_code().items()
    }
    found = {
        code: tuple(", ".join(sorted(cell.split(", "))) for cell in documented.get(code, ("", "")))
        for code in wanted
    }
    assert found == wanted


def test_no_documented_error_code_has_gone() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("kled_*/**/*.py"))
    cells = [row[0] for row in rows(page("errors.md"))]
    codes = [cell.strip("`") for cell in cells if re.fullmatch(r"`[a-z0-9_]+`", cell)]
    assert [code for code in codes if f'"{code}"' not in sources] == []


def codes_in_code() -> Codes:
    """Every literal code an error of ours is made with, with the status and exit code it gets."""
    found: Codes = {}
    for path in sorted(ROOT.glob("kled_*/**/*.py")):
        if path.name in NOT_IMPORTED or "migrations" in path.parts:
            continue
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for kind, code in _made(node, module):
                found.setdefault(code, set()).add((kind.status, kind.exit_code))
    return found


def _made(node: ast.AST, module: object) -> Iterator[tuple[type[KledError], str]]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
        kind = _error(module, node.func.id)
        if kind is not None and kind.__init__ is KledError.__init__:
            yield from ((kind, code) for code in _literals(node.args[0]))
    elif isinstance(node, ast.ClassDef) and (kind := _error(module, node.name)):
        for call in ast.walk(node):
            if (
                isinstance(call, ast.Call)
                and ast.unparse(call.func) == "super().__init__"
                and call.args
            ):
                yield from ((kind, code) for code in _literals(call.args[0]))


def _error(module: object, name: str) -> type[KledError] | None:
    kind = getattr(module, name, None)
    return kind if inspect.isclass(kind) and issubclass(kind, KledError) else None


def _literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _literals(node.body)
        yield from _literals(node.orelse)


def test_every_setting_of_the_coordinator_is_documented_with_its_default() -> None:
    documented = {cells[0]: cells[1:3] for cells in rows(section("settings.md", "Coordinator"))}
    for name, field in CoordinatorConfig.model_fields.items():
        variable, default = documented[f"`{name}`"]
        assert variable == f"`{ENV_PREFIX}{name.upper()}`"
        if isinstance(field.default, int | float | str) and field.default != "":
            value = field.default
            shown = f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)
            assert default.startswith(f"`{shown.removesuffix('.0')}`"), name


def test_every_setting_of_the_agent_is_documented() -> None:
    documented = {cells[0]: cells[1] for cells in rows(section("settings.md", "Agent"))}
    wanted = {f"`{name}`": f"`{variable}`" for name, variable in ENVIRONMENT.items()}
    assert {name: documented.get(name) for name in wanted} == wanted


def test_every_variable_of_the_client_is_documented() -> None:
    read = {
        name
        for path in (ROOT / "kled_client").rglob("*.py")
        for name in re.findall(r'env(?:iron)?(?:\.get\(|\[)"(KLED_\w+)"', path.read_text())
    }
    assert read
    assert [name for name in sorted(read) if f"`{name}`" not in page("settings.md")] == []


def test_every_metric_is_documented_with_its_labels() -> None:
    documented = {cells[0].strip("`"): cells[1:3] for cells in rows(page("metrics.md"))}
    for metric in vars(Metrics()).values():
        if not hasattr(metric, "_labelnames"):
            continue
        name = metric._name + ("_total" if metric._type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        assert documented.get(name) == [metric._type, labels], name


def test_every_control_message_is_documented_with_its_fields() -> None:
    documented = {cells[0].strip("`"): cells[2] for cells in rows(page("protocol.md")) if cells[2:]}
    for name, kind in messages.ALL.items():
        fields = set(inspect.signature(kind).parameters)
        assert set(re.findall(r"`(\w+)`", documented.get(name, ""))) >= fields, name


def test_every_close_code_is_documented() -> None:
    text = page("protocol.md")
    assert [code for code in CloseCode if f"| {int(code)} |" not in text] == []


def test_every_packet_of_the_relay_is_documented() -> None:
    text = page("protocol.md")
    missing = [
        k.__name__
        for k in (Open, Close, Moved, StreamDone, StopRelay)
        if f"`{k.__name__}`" not in text
    ]
    assert missing == []


def test_every_limit_is_documented() -> None:
    text = page("protocol.md")
    assert [name for name in dir(limits) if name.isupper() and f"`{name}`" not in text] == []


def test_every_route_is_documented() -> None:
    text = page("protocol.md").replace("{workspace id}", "{workspace_id}")
    text = re.sub(r"\{(id|build_id|token_id|key_id)\}", "{id}", text)
    for module in _MODULES:
        for route in module.router.routes:
            path = re.sub(r"\{(build_id|token_id|key_id)\}", "{id}", route.path_format)
            lines = [
                line for line in text.splitlines() if re.search(re.escape(path) + r"[?`]", line)
            ]
            for method in route.methods - {"HEAD"}:
                assert any(re.search(rf"\b{method}\b", line) for line in lines), (method, path)


def commands(command: click.Command, name: str, context: click.Context) -> Iterator[str]:
    """The full names of all commands below this one."""
    if not isinstance(command, click.Group):
        yield name
        return
    for word in command.list_commands(context):
        inner = command.get_command(context, word)
        assert inner is not None
        yield from commands(inner, f"{name} {word}".strip(), context)


def test_every_command_of_kled_is_documented() -> None:
    lines = [" ".join(cells) for cells in rows(section("cli.md", "Commands"))]
    for name in commands(cli, "", click.Context(cli)):
        group, _, word = name.rpartition(" ")
        # The commands of a group stand in its row, without its name.
        found = [line for line in lines if re.search(rf"`(kled )?{group}\b", line)]
        assert any(re.search(rf"[` ]{re.escape(word)}\b", line) for line in found), name


def test_every_command_of_the_coordinator_is_documented() -> None:
    text = page("operations.md")
    names = commands(kled_coord, "kled-coord", click.Context(kled_coord))
    assert [name for name in names if f"`{name}" not in text] == []


def test_every_room_is_listed() -> None:
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob("kled_*/**/__init__.py")}
    rooms = {str(p) for p in packages if len(p.parts) > 1 and "migrations" not in p.parts}
    listed = {row[0].strip("`") for row in rows(section("architecture.md", "Where things are"))}
    assert listed - {"room", "---"} == rooms


def test_every_link_between_pages_leads_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "systemd").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_page_that_the_code_names_exists() -> None:
    sources = [*ROOT.glob("kled_*/**/*.py"), ROOT / "pyproject.toml"]
    named = {
        name
        for path in sources
        for name in re.findall(r"(?<![\w/])docs/[\w./-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_module_that_code_or_a_page_names_exists() -> None:
    """Where a room names one it is in the same package; a page may name any."""
    modules = [f"/{path.relative_to(ROOT)}" for path in ROOT.glob("[kst]*/**/*.py")]
    sources = [*ROOT.glob("kled_*/**/*.py"), *DOCS.rglob("*.md"), ROOT / "CONTRIBUTING.md"]
    named = {
        (path.relative_to(ROOT), next(filter(None, found)))
        for path in sources
        for found in re.findall(
            r"`([a-z_/]+\.py)`|\(([a-z_/]+\.py)[,)]", path.read_text(encoding="utf-8")
        )
    }
    assert len(named) > 100
    missing = []
    for path, name in sorted(named):
        is_own = path.suffix == ".py" and not name.startswith("kled_")
        room = f"/{path.parts[0]}/" if is_own else "/"
        there = [module for module in modules if module.startswith(room)]
        if not any(module.endswith(f"/{name}") for module in there):
            missing.append(f"{path}: {name}")
    assert missing == []


def test_every_task_in_the_trees_of_tasks_is_a_function() -> None:
    text = section("architecture.md", "The trees of tasks")
    tasks = re.findall(r"^[│ ]*[├└]── (\S+)", text, re.MULTILINE)
    sources = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("kled_*/**/*.py"))
    # What has neither dot nor underscore is a nursery, or a word for several tasks.
    names = {task.rpartition(".")[2] for task in tasks if "." in task or "_" in task}
    assert len(names) > 10
    assert [name for name in sorted(names) if f"async def {name}(" not in sources] == []
