"""For all tests: which run, and where CI runs one that could not find what it needs has failed."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Literal

import hypothesis
import pytest

# How long an example takes says how busy the machine is, and nothing else here.
hypothesis.settings.register_profile(
    "kled", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("kled")
# For scripts/test --fast: of the hundred examples that all tests have, some.
hypothesis.settings.register_profile("kled-fast", max_examples=25)

# What starts real programs, all of it.
_E2E = Path(__file__).parent / "e2e"
# How tests say, in the reason of a skip, that a package or program is missing.
_MISSING = ("not installed", "could not import")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What scripts/test passes on."""
    parser.addoption("--strangers", action="store_true", help="also the tests marked strangers")
    parser.addoption("--leaks", action="store_true", help="name the test that left something open")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import nothing of which `-m "not slow"` leaves no test: each worker would, for seconds."""
    if config.getoption("markexpr") == "not slow" and _is_slow(collection_path):
        return True
    return None


def _is_slow(path: Path) -> bool:
    """Whether all tests of a folder or file are marked so, by where it is or by `pytestmark`."""
    if path == _E2E or _E2E in path.parents:
        return True
    if path.suffix != ".py":
        return False
    _, _, marks = path.read_text("utf-8").partition("\npytestmark = ")
    return "pytest.mark.slow" in marks.partition("\n\n")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs programs that only `--strangers` installs; mark what starts programs."""
    inside = f"{_E2E}{os.sep}"
    for item in items:
        if str(item.path).startswith(inside):
            item.add_marker(pytest.mark.slow)
    if not config.getoption("--strangers"):
        left_out = [item for item in items if item.get_closest_marker("strangers")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is there before the first test is nobody's leak: the collector need not look at it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def _leak_scope(fixture_name: str, config: pytest.Config) -> Literal["function", "module"]:
    return "function" if config.getoption("--leaks") else "module"


@pytest.fixture(autouse=True, scope=_leak_scope)
def _collected() -> Iterator[None]:
    """Sockets, files and processes that a test has left open fail its own file.

    The warning comes when the garbage collector finds them, in whichever test that may be. Here it
    looks at the end of each file, and with --leaks, which takes longer, of each test. What is still
    in use then, imported modules above all, it need not look at again.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Failures are told at once: a run that is ended before its summary has said why."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and os.environ.get("CI") == "true":
        config.pluginmanager.register(_Failures(reporter))


class _Failures:
    def __init__(self, reporter: Any) -> None:
        self._reporter = reporter

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            lines = report.longreprtext.splitlines()
            errors = [line for line in lines if line.startswith("E ")]
            # Of a group of exceptions pytest gives the traceback alone, without the mark.
            errors = errors or [line for line in lines if "Error" in line][-1:] or lines[-1:]
            self._reporter.ensure_newline()
            self._reporter.write_line(f"{report.nodeid}: {report.when}: {' '.join(errors)[:300]}")


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
