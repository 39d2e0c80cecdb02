"""Makes the configuration that a template asks for, or says what is wrong with it. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kled_provider.kata.owner.file import Configuration, OwnerFile
from kled_provider.kata.runtime_config.keys import Key, is_off
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.other_keys import REPEATED, TABLES
from kled_provider.kata.runtime_config.problem import Problem
from kled_provider.kata.runtime_config.rules import key_problems, problems
from kled_provider.kata.runtime_config.schema import DROP_IN
from kled_provider.kata.runtime_config.tables import (
    Tables,
    Toml,
    merge,
    parsed_toml,
    plain_values,
    tables_of,
    to_toml,
)
from kled_provider.kata.runtime_config.toml_text import toml_text
from kled_provider.kata.runtime_config.workarounds import work_around
from kled_provider.plugin.diagnostics import Diagnostic, Path, Severity
from kled_provider.plugin.values import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedConfig:
    """What a template's configuration becomes.

    `text` is what is written, `rendered` the merged result, which is the same unless it is a
    drop-in.
    """

    merged: Merged
    text: str
    rendered: str
    diagnostics: tuple[Diagnostic, ...]

    @property
    def sha256(self) -> str:
        """Digest of the merged result."""
        return hashlib.sha256(self.rendered.encode()).hexdigest()


def compose(values: Values, owner: OwnerFile, base: Toml) -> ComposedConfig:
    """Merge what a template sets into `base`, its base with the drop-ins; all values are known."""
    kind = values["hypervisor"]["kind"]
    given = template_tables(values)
    extra: Toml = {}
    for name in values["extra_toml"] or []:
        extra = merge(extra, parsed_toml(owner.extra_toml.get(name, "")))
    below = tables_of(kind, merge(base, extra))
    keys = frozenset(
        (table, key) for table in given if table not in REPEATED for key in given[table]
    )
    tables = work_around(_merged(below, given), given=keys)
    merged = Merged(kind, tables)
    rest = {k: v for k, v in base.items() if k not in ("hypervisor", "agent", "runtime")}
    rendered = toml_text({**rest, **to_toml(kind, tables)})
    text = rendered
    if values["form"] == DROP_IN:
        text = toml_text(to_toml(kind, _changes(tables_of(kind, base), tables), like=base))
    return ComposedConfig(
        merged=merged,
        text=text,
        rendered=rendered,
        diagnostics=tuple(_judge(values, owner, below, given, merged)),
    )


def template_tables(values: Values) -> Tables:
    """Return what a template sets, by table; what it leaves out is not there."""
    found: Tables = {}
    for name in TABLES:
        block: Any = values
        for step in name.split("."):
            block = block.get(step) if isinstance(block, dict) else None
        keys = [key.name for key in TABLES[name]]
        if name in REPEATED:
            found[name] = [plain_values({key: item[key] for key in keys}) for item in block or ()]
        else:
            found[name] = plain_values({key: block[key] for key in keys} if block else {})
    return found


def _merged(below: Tables, given: Tables) -> Tables:
    return {
        name: (given[name] or below[name]) if name in REPEATED else {**below[name], **given[name]}
        for name in TABLES
    }


def _changes(before: Tables, after: Tables) -> Tables:
    """What a drop-in has to say."""
    found: Tables = {}
    for name in TABLES:
        if name in REPEATED:
            found |= {name: after[name]} if after[name] != before[name] else {}
        else:
            changed = {k: v for k, v in after[name].items() if before[name].get(k) != v}
            found |= {name: changed} if changed else {}
    return found


# --- what is wrong


def _judge(
    values: Values, owner: OwnerFile, below: Tables, given: Tables, merged: Merged
) -> Iterator[Diagnostic]:
    yield from _names(values, owner)
    yield from _dangers(owner, below, given)
    for problem in (*key_problems(merged.tables), *problems(merged.hypervisor, merged.tables)):
        # A setting of the base that has no effect is the concern of the base's owner.
        if _given_place(problem, given) or not problem.is_warning:
            yield diagnose(problem, values, given)


def _names(values: Values, owner: OwnerFile) -> Iterator[Diagnostic]:
    base = values["base"]
    if base is not None and base not in owner.configurations:
        yield _unknown_name("configuration", base, owner.configurations, ("base",))
    if values["form"] == DROP_IN:
        found: Configuration | None = owner.configurations.get(base)
        if found is None or not found.drop_ins:
            yield Diagnostic(
                summary="No drop-in is allowed here",
                detail="It would change the base for everything that uses it: this machine's owner "
                "allows that by `drop_ins = true` in its table of [configurations].",
                path=("form",),
            )
    for index, name in enumerate(values["extra_toml"] or []):
        if name not in owner.extra_toml:
            yield _unknown_name(
                "piece of configuration", name, owner.extra_toml, ("extra_toml", index)
            )


def _unknown_name(what: str, name: object, names: Mapping[str, Any], path: Path) -> Diagnostic:
    has = ", ".join(sorted(names)) or "none"
    return Diagnostic(
        summary=f"There is no such {what}",
        detail=f"The owner's file of this machine has {has}; got {str(name)[:80]!r}.",
        path=path,
    )


def _dangers(owner: OwnerFile, below: Tables, given: Tables) -> Iterator[Diagnostic]:
    for table, keys in TABLES.items():
        items = given[table] if table in REPEATED else [given[table]]
        for index, item in enumerate(items):
            before = {} if table in REPEATED else below[table]
            for key in keys:
                if key.name in item and not _may_have(owner, table, key, before, item[key.name]):
                    at = (index,) if table in REPEATED else ()
                    yield Diagnostic(
                        summary=f"{key.name} is not for a template to choose",
                        detail=owner.not_listed(table, key.name),
                        path=(*table.split("."), *at, key.name),
                    )


def _may_have(
    owner: OwnerFile, table: str, key: Key, before: Mapping[str, Any], value: Any
) -> bool:
    """The base's own value changes nothing; else each value has to be listed."""
    had = before.get(key.name)
    if not key.is_dangerous or value == had or (is_off(value) and is_off(had)):
        return True
    values = value if isinstance(value, list) else [value]
    texts = [str(item).lower() if isinstance(item, bool) else str(item) for item in values]
    return bool(texts) and set(texts) <= set(owner.allowed_values(table, key.name))


def _given_place(problem: Problem, given: Tables) -> Path:
    """Where a template says what a problem is about; () where the base says all of it."""
    if problem.index is not None:
        return (
            (*problem.table.split("."), problem.index, problem.key) if given[problem.table] else ()
        )
    for table, key in ((problem.table, problem.key), *problem.others):
        if key in given[table]:
            return (*table.split("."), key)
    return ()


def diagnose(problem: Problem, values: Values, given: Tables) -> Diagnostic:
    """Make a diagnostic, at the key that the template has set."""
    block, *_ = problem.table.split(".")
    # The base says it: there is no line for it, but one for what stands nearest.
    nearest: Path = (block,) if values[block] is not None else ("base",)
    return Diagnostic(
        summary=f"{problem.key} has no effect" if problem.is_warning else f"Invalid {problem.key}",
        detail=problem.sentence,
        path=_given_place(problem, given) or nearest,
        severity=Severity.WARNING if problem.is_warning else Severity.ERROR,
    )
