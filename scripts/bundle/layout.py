"""Lay the bundle's directory out (docs/bundle.md says what stands where, and why)."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from bundle.fetching import PYTHON, Inputs
from bundle.sealing import seal_loader
from bundle.targets import Target

HERE = Path(__file__).parent
# Programs and the names that they run under: /proc/PID/comm is the loader's own name.
PROGRAMS: Final = ("kled-agent", "kled-init", "kled-python", "kled-sftp")
LIBRARIES: Final = (
    "libc.so.6",
    "libm.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libz.so.1",
    "libexpat.so.1",
    "libssl.so.3",
    "libcrypto.so.3",
    "libffi.so.8",
)
_ROOMS: Final = ("kled_agent", "kled_wire", "kled_sync")
_INTERPRETER: Final = f"python{PYTHON}"
# The flags of a process whose files are at a place nobody knows yet.
_COMPILE: Final = """
import compileall, py_compile, sys
ok = compileall.compile_dir(sys.argv[1], quiet=1, legacy=True, stripdir=sys.argv[2],
    prependdir='/kled', invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
sys.exit(not ok)
"""


def lay_out(tree: Path, target: Target, inputs: Inputs, root: Path) -> None:
    """Make the directory `tree`. Raises SealError, subprocess.CalledProcessError, OSError."""
    library, stdlib = tree / "lib", tree / "lib" / _INTERPRETER
    library.mkdir(parents=True)
    shutil.copytree(inputs.debs / "usr/lib" / _INTERPRETER, stdlib, symlinks=True)
    _copy_wheels(inputs.wheels, stdlib)
    _copy_rooms(root, stdlib)
    _trim(stdlib, (HERE / "trim.txt").read_text().splitlines())
    shutil.copy(HERE / "find_library.py", stdlib / "ctypes" / "util.py")
    _copy_binaries(tree, target, inputs.debs)
    _compile(stdlib, inputs.native)
    (tree / "etc").mkdir()
    shutil.move(stdlib / "certifi" / "cacert.pem", tree / "etc" / "cacert.pem")
    shutil.rmtree(stdlib / "certifi")
    (tree / "bin").mkdir()
    _build_launcher(tree / "bin", target)
    _copy_licences(tree, inputs)


def _copy_wheels(unpacked: Path, stdlib: Path) -> None:
    shutil.copytree(
        unpacked, stdlib, dirs_exist_ok=True, ignore=shutil.ignore_patterns("inputs.txt", "*.data")
    )
    for data in unpacked.glob("*.data/*lib"):
        shutil.copytree(data, stdlib, dirs_exist_ok=True)


def _copy_rooms(root: Path, stdlib: Path) -> None:
    """The agent's own rooms, and the version that importlib.metadata finds."""
    for room in _ROOMS:
        if (root / room).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "py.typed")
            shutil.copytree(root / room, stdlib / room, ignore=ignored)
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    info = stdlib / f"kled-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: kled\nVersion: {version}\n")


def _trim(stdlib: Path, patterns: Iterable[str]) -> None:
    """Take away what no agent imports; a pattern is relative and may hit nothing."""
    for pattern in patterns:
        if not pattern or pattern.startswith("#"):
            continue
        for path in sorted(stdlib.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _copy_binaries(tree: Path, target: Target, debs: Path) -> None:
    library = tree / "lib"
    for name in LIBRARIES:
        shutil.copy(_found(debs, target, name), library / name)
    # ctypes looks for `libc.so` where no linker is.
    (library / "libc.so").symlink_to("libc.so.6")
    shutil.copy(debs / f"usr/bin/{_INTERPRETER}", library / f"{_INTERPRETER}.bin")
    shutil.copy(debs / "usr/lib/openssh/sftp-server", library / "sftp-server.bin")
    for path in sorted(_objects(tree)):
        path.chmod(0o755)
        subprocess.run([target.strip, "--strip-unneeded", path], check=True, capture_output=True)
        if path.parent != library or path.suffix == ".bin":
            _point_home(path, library)
        else:
            _set_rpath(path, "$ORIGIN")
    loader = library / target.loader
    loader.write_bytes(
        seal_loader(_found(debs, target, target.loader).read_bytes(), target.triplet)
    )
    loader.chmod(0o755)
    for name in PROGRAMS:
        (library / name).symlink_to(target.loader)


def _found(debs: Path, target: Target, name: str) -> Path:
    for directory in (f"lib/{target.triplet}", f"usr/lib/{target.triplet}", "lib", "lib64"):
        if (path := debs / directory / name).exists():
            return path.resolve()
    raise FileNotFoundError(f"none of the Debian packages has {name}")


def _objects(tree: Path) -> Iterator[Path]:
    """ELF files (elf(5)) that are no links."""
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def _point_home(path: Path, library: Path) -> None:
    up = "/".join(".." for _ in path.parent.relative_to(library).parts)
    _set_rpath(path, f"$ORIGIN/{up}" if up else "$ORIGIN")


def _set_rpath(path: Path, rpath: str) -> None:
    """DT_RPATH, not DT_RUNPATH: only that counts for what a library itself needs (ld.so(8))."""
    if path.name.startswith("libc.so"):
        return  # it needs the loader alone, and patchelf breaks it
    subprocess.run(
        ["patchelf", "--force-rpath", "--set-rpath", rpath, path], check=True, capture_output=True
    )


def _compile(stdlib: Path, native: Path) -> None:
    """Leave .pyc alone, whose hashes nobody checks: a bundle is read-only and has no times."""
    machine = next(native.glob("lib*/ld-linux*"), None) or next(native.glob("lib/*/ld-linux*"))
    libraries = ":".join(str(p) for p in (*native.glob("lib/*-gnu"), *native.glob("usr/lib/*-gnu")))
    python = native / f"usr/bin/{_INTERPRETER}"
    home = {"PYTHONHOME": str(native / "usr"), "PYTHONHASHSEED": "0"}
    run: list[str | Path] = [machine.resolve(), "--library-path", libraries, python]
    run += ["-S", "-c", _COMPILE, stdlib, stdlib.parents[1]]
    subprocess.run(run, check=True, capture_output=True, env=home)
    for source in sorted(stdlib.rglob("*.py")):
        source.unlink()
    for cache in sorted(stdlib.rglob("__pycache__")):
        shutil.rmtree(cache)


def _build_launcher(directory: Path, target: Target) -> None:
    agent = directory / "kled-agent"
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{target.machine}-linux-none"]
    flags = ["-Os", "-nostdlib", "-static", "-ffreestanding", "-fno-stack-protector", "-s"]
    flags += ["-fno-sanitize=all", "-Wall", "-Wextra", "-Werror", "-Wl,--build-id=none"]
    flags += [f'-DPYTHON="{_INTERPRETER}.bin"', "-o", str(agent), str(HERE / "launcher.c")]
    subprocess.run([*zig, *flags], check=True, capture_output=True)
    for name in ("kled-init", "kled-python"):
        shutil.copy(agent, directory / name)


def _copy_licences(tree: Path, inputs: Inputs) -> None:
    """Every package's, and the versions whose sources they are of."""
    documents = tree / "share" / "doc"
    for copyright_file in sorted(inputs.debs.glob("usr/share/doc/*/copyright")):
        (documents / copyright_file.parent.name).mkdir(parents=True)
        shutil.copy(copyright_file.resolve(), documents / copyright_file.parent.name / "copyright")
    for licence in sorted(inputs.wheels.glob("*.dist-info/**/LICEN[CS]E*")):
        package = licence.relative_to(inputs.wheels).parts[0].removesuffix(".dist-info")
        (documents / package).mkdir(parents=True, exist_ok=True)
        shutil.copy(licence, documents / package / licence.name)
    versions = "".join((part / "inputs.txt").read_text() for part in (inputs.debs, inputs.wheels))
    (documents / "versions.txt").write_text(versions)
