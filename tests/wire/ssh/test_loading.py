"""What is asked where a library is, while a module that asks is imported."""

from __future__ import annotations

import ctypes.util
import sys
from pathlib import Path

import pytest

from kled_wire.ssh import loading
from kled_wire.ssh.loading import load_with_asyncssh

# As asyncssh asks for liboqs.
_ASKS = 'import ctypes.util\nfound = ctypes.util.find_library("kled-has-no-such-library")\n'
_COMPILER = "#!/bin/sh\necho asked >>{mark}\nexit 1\n"


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that says which compilers were run."""
    for name in ("gcc", "cc", "ld"):
        program = tmp_path / name
        program.write_text(_COMPILER.format(mark=tmp_path / "mark"))
        program.chmod(0o755)
    (tmp_path / "asks.py").write_text(_ASKS)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asks", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return tmp_path / "mark"


@pytest.mark.skipif(not Path("/etc/ld.so.cache").exists(), reason="a C library without ldconfig")
def test_no_compiler_is_run_where_the_linker_knows_all_libraries(mark: Path) -> None:
    before = ctypes.util.find_library
    assert load_with_asyncssh("asks").found is None
    assert not mark.exists()
    assert ctypes.util.find_library is before
    ctypes.util.find_library("kled-has-no-such-library")
    assert mark.exists()  # who asks later is answered in full


@pytest.mark.parametrize("known_by", ["LD_LIBRARY_PATH", "no cache"])
def test_all_is_asked_where_the_linker_does_not(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_by: str
) -> None:
    if known_by == "no cache":
        monkeypatch.setattr(loading, "_LINKER_CACHE", tmp_path / "none")
    else:
        monkeypatch.setenv(known_by, str(tmp_path))
    assert load_with_asyncssh("asks").found is None
    assert mark.exists()
