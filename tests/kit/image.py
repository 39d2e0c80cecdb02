"""Root directories of other systems, and programs that run in them as in a container.

A mock only in this: a runtime would make the namespaces; here unshare(1) and chroot(1) do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

MIRROR = "http://deb.debian.org/debian"
# What a runtime gives each container: its own /proc, a small /dev, terminals.
_ENTER = """
mount --make-rprivate /
mount --rbind "$ROOT" "$ROOT"
mkdir -p "$ROOT/dev" "$ROOT/proc" "$ROOT/tmp"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs -o mode=755 dev "$ROOT/dev"
mkdir "$ROOT/dev/shm"
if [ -n "$TERMINALS" ]; then
    mkdir "$ROOT/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$ROOT/dev/pts"
    ln -s pts/ptmx "$ROOT/dev/ptmx"
fi
ln -s /proc/self/fd "$ROOT/dev/fd"
for each in null zero random urandom tty; do
    : >"$ROOT/dev/$each"
    mount --bind "/dev/$each" "$ROOT/dev/$each"
done
if [ -n "$BUNDLE" ]; then
    mkdir -p "$ROOT/opt/kled"
    mount --bind "$BUNDLE" "$ROOT/opt/kled"
    mount -o remount,bind,ro "$ROOT/opt/kled"
fi
exec chroot ${AS:+--userspec="$AS"} "$ROOT" "$@"
"""


def debian(root: Path, suite: str, *packages: str) -> Path:
    """A minimal Debian of that suite, with `packages`."""
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}", suite,
         root, MIRROR],
        check=True, capture_output=True,
    )  # fmt: skip
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    return root


def alpine_like(root: Path) -> Path:
    """BusyBox and musl's loader, and users as Alpine lists them."""
    for directory in ("bin", "etc", "lib", "root", "home/ann", "tmp"):
        (root / directory).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    shutil.copy("/lib/ld-musl-x86_64.so.1", root / "lib" / "ld-musl-x86_64.so.1")
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/ash\nann:x:1000:1000:Ann:/home/ann:/bin/ash\n"
    )
    (root / "etc/group").write_text("root:x:0:\nann:x:1000:\n")
    os.chown(root / "home/ann", 1000, 1000)
    return root


def entered(
    root: Path,
    argv: Sequence[str],
    *,
    bundle: Path | None = None,
    user: str = "",
    terminals: bool = True,
) -> tuple[list[str], Mapping[str, str]]:
    """The vector and variables that run `argv` in `root`, as process 1; it ends with its parent.

    Without `terminals` there is no /dev/pts.
    """
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    variables = {"ROOT": str(root), "BUNDLE": str(bundle or ""), "AS": user}
    variables["TERMINALS"] = "yes" if terminals else ""
    return [*unshare, "sh", "-euc", _ENTER, "enter", *argv], variables
