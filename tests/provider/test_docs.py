"""docs/provider.md names every attribute and every variable there is."""

from __future__ import annotations

import re
from pathlib import Path

from kled_provider.kled.provider import kled_provider

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/provider.md").read_text()


def test_every_attribute_is_documented() -> None:
    provider = kled_provider()
    schemas = {r.type_name: r.schema for r in provider.resources}
    schemas |= {d.type_name: d.schema for d in provider.data_sources}
    for name, schema in schemas.items():
        section = TEXT.partition(f"`{name}`\n")[2].partition("\n## ")[0]
        assert section, name
        missing = [a.name for a in schema.attributes if f"`{a.name}`" not in section]
        assert missing == [], name


def test_every_variable_of_the_stand_alone_provider_is_documented() -> None:
    source = (ROOT / "kled_provider/environment_host.py").read_text()
    assert [name for name in set(re.findall(r'"(KLED_[A-Z_]+)"', source)) if name not in TEXT] == []
