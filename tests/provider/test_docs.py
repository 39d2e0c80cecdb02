"""The documentation names every attribute and every variable there is."""

from __future__ import annotations

import re
from pathlib import Path

from kled_provider.reference import providers, reference_pages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/provider.md").read_text()


def test_the_reference_is_made_from_the_schema() -> None:
    """If not: scripts/reference."""
    for name, provider in providers().items():
        written = {p.name: p.read_text() for p in (ROOT / "docs/provider" / name).glob("*.md")}
        assert written == reference_pages(provider)


def test_a_page_has_the_resource_and_the_data_source_of_its_name() -> None:
    page = reference_pages(providers()["kata"])["kata_image.md"]
    assert "# Resource `kata_image`" in page
    assert "# Data source `kata_image`" in page


def test_every_variable_of_the_stand_alone_provider_is_documented() -> None:
    source = (ROOT / "kled_provider/environment_host.py").read_text()
    assert [name for name in set(re.findall(r'"(KLED_[A-Z_]+)"', source)) if name not in TEXT] == []
