"""Writes the provider's reference pages, docs/provider/, from its schema (scripts/reference)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from kled_provider.kata.machine import KataMachine
from kled_provider.kata.provider import kata_provider
from kled_provider.kled.provider import kled_provider
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.schema import Attribute, Block, Body, Nesting, Schema
from kled_provider.plugin.values import describe_type


def reference_pages(provider: Provider) -> dict[str, str]:
    """Return the text of each page by the name of its file."""
    found = [(r.type_name, "Resource", r.schema) for r in provider.resources]
    found += [(d.type_name, "Data source", d.schema) for d in provider.data_sources]
    pages: dict[str, str] = {}
    for name, kind, schema in found:  # a resource and a data source may share a name, and a page
        page = _page(name, kind, schema)
        pages[f"{name}.md"] = "\n".join(filter(None, (pages.get(f"{name}.md"), page)))
    lines = [f"- [`{name}`]({name}.md), {kind.lower()}: {s.description}" for name, kind, s in found]
    head = f"# Provider `{provider.name}`\n\nMade from the schema by `scripts/reference`.\n\n"
    return {**pages, "README.md": head + "\n".join(sorted(lines)) + "\n"}


def _page(name: str, kind: str, schema: Schema) -> str:
    parts = [f"# {kind} `{name}`", schema.description, *_body(schema)]
    for path, block in _all_blocks(schema, ""):
        parts += [f"## Block `{path}`", f"{block.description} {_limits(block)}", *_body(block)]
    return "\n\n".join(parts) + "\n"


def _body(body: Body) -> Iterator[str]:
    settable = [a for a in body.attributes if a.is_settable]
    computed = [a for a in body.attributes if not a.is_settable]
    for items in (settable, computed):
        if items:
            rows = "\n".join(_row(a) for a in items)
            yield f"| attribute | type | | |\n| --- | --- | --- | --- |\n{rows}"


def _row(attribute: Attribute) -> str:
    words = "required" if attribute.required else "optional" if attribute.optional else "computed"
    marks = [words]
    marks += ["sensitive"] * attribute.sensitive + ["write-only"] * attribute.write_only
    # A default that the machine decides is described in words.
    if attribute.default is not None and "by default" not in attribute.description:
        shown = str(attribute.default).lower() if attribute.default in (True, False) else None
        marks.append(f"default `{shown or attribute.default}`")
    text = attribute.description
    if attribute.ignored:
        text += f" Does nothing here: {attribute.ignored}."
    if attribute.unsupported:
        text += f" Not supported: {attribute.unsupported}"
    kind = attribute.nested.nesting.value if attribute.nested else describe_type(attribute.type)
    return f"| `{attribute.name}` | {kind} | {', '.join(marks)} | {text} |"


def _all_blocks(body: Body, path: str) -> Iterator[tuple[str, Block]]:
    for block in body.blocks:
        yield f"{path}{block.name}", block
        yield from _all_blocks(block, f"{path}{block.name}.")


def _limits(block: Block) -> str:
    if block.nesting is Nesting.SINGLE or block.max_items == 1:
        often = "once" if block.min_items else "at most once"
    elif block.max_items:
        often = f"{block.min_items} to {block.max_items} times"
    else:
        often = f"{block.min_items} times or more"
    return f"May stand {often}." + (
        f" Does nothing here: {block.ignored}." if block.ignored else ""
    )


def providers() -> dict[str, Provider]:
    """Return the providers that are documented, by the directory of their pages."""
    return {"": kled_provider(), "kata": kata_provider(KataMachine())}


def main() -> int:
    """Write the pages into a directory; returns the exit code."""
    for name, provider in providers().items():
        directory = Path(sys.argv[1]) / name
        directory.mkdir(parents=True, exist_ok=True)
        pages = reference_pages(provider)
        for path in directory.glob("*.md"):
            if path.name not in pages:
                path.unlink()
        for page, text in pages.items():
            (directory / page).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
