"""What somebody gets who installs Kled and has no clone of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools writes beside the sources."""
    work = tmp_path_factory.mktemp("wheel")
    tracked = ("kled_*", "templates", "systemd", "docs", "pyproject.toml", "README.md", "LICENSE")
    for path in (
        path for name in tracked for path in ROOT.glob(name) if path.suffix != ".egg-info"
    ):
        if path.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, work / path.name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(path, work)
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    pip += ["-w", work / "dist", work]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    (built,) = (work / "dist").iterdir()
    return built


def test_the_wheel_has_what_the_readme_needs(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    for folder, place in {
        "templates": "kled_client/templates",
        "systemd": "kled_coord/systemd",
        "docs/examples": "kled_coord/examples",
    }.items():
        files = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.*")}
        assert files
        assert {f"{place}/{path}" for path in files} <= names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
    found = Parser().parsestr(archive.read(name).decode())
    assert found["License-Expression"] == "Apache-2.0"
    assert {line.partition(",")[0] for line in found.get_all("Project-URL", [])} >= {
        "Homepage", "Documentation", "Changelog",
    }  # fmt: skip
    # One sentence for all of them; what is not there yet, README lists.
    assert found["Summary"] in (ROOT / "README.md").read_text()
    assert f'"""{found["Summary"]}."""' in (ROOT / "kled_client/cli/main.py").read_text()


def test_the_shipped_template_comes_without_a_clone(wheel: Path, tmp_path: Path) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    ZipFile(wheel).extractall(site)
    done = subprocess.run(
        [sys.executable, "-m", "kled_client", "template", "init", "process"],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shipped = (ROOT / "templates/process/main.tf").read_text()
    assert (home / "process/main.tf").read_text() == shipped
