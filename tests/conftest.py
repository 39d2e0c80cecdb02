"""For all tests: where CI runs, a test that could not find what it needs has failed."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

# How tests say, in the reason of a skip, that a package or program is missing.
_MISSING = ("not installed", "could not import")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip inside a test or its fixtures."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A skip of a whole file."""
    return _judged((yield))


def _judged(report: Any) -> Any:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        where, line, reason = report.longrepr
        if any(words in reason for words in _MISSING):
            report.outcome = "failed"
            report.longrepr = f"{where}:{line}: {reason}; in CI it must be there (scripts/test)"
    return report
