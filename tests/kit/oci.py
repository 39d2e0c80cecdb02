"""Images for tests: a root file system of busybox, as OCI layout and as archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kit.programs import need

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# What people type into a shell, and what init scripts use.
APPLETS = "ash cat chmod cp date df dirname echo env false find grep head hostname id ip kill ln ls"
APPLETS += " mkdir mktemp mount mv ping ps pwd rm rmdir sed sh sha256sum sleep sort stat sync tail"
APPLETS += " tar test touch tr true uname wc wget whoami nc nslookup gzip kill free nproc vi"


def digest_of(data: bytes) -> str:
    """The digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(kw_only=True)
class OciImage:
    """An image with its blobs by digest; `manifest` is the digest of what its name stands for."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifest: str = ""

    def add(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Keep a blob; gives its descriptor."""
        digest = digest_of(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def save(self, path: Path, name: str) -> Path:
        """Write an OCI archive, as `skopeo copy ... oci-archive:` does."""
        descriptor = {
            "mediaType": MANIFEST,
            "digest": self.manifest,
            "size": len(self.blobs[self.manifest]),
            "annotations": {
                "org.opencontainers.image.ref.name": name,
                "io.containerd.image.name": name,  # what `ctr images import` reads
            },
        }
        index = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
        files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
        files |= {f"blobs/{d.replace(':', '/')}": data for d, data in self.blobs.items()}
        path.write_bytes(tar_of(files))
        return path


def tar_of(files: Mapping[str, bytes | str], *, mode: int = 0o755) -> bytes:
    """A tar of files; a `str` is a symbolic link, a name that ends with `/` a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode = 0o1777 if name.startswith("tmp") else mode
            if name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return out.getvalue()


def image_of(
    *layers: bytes, config: Mapping[str, Any] | None = None, architecture: str = "amd64"
) -> OciImage:
    """An image of tars, packed; `config` is what containers of it are started with."""
    image = OciImage()
    packed = [image.add(gzip.compress(layer, 1, mtime=0), LAYER) for layer in layers]
    document = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        "config": dict(config or {}),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": image.add(json.dumps(document).encode(), CONFIG),
        "layers": packed,
    }
    image.manifest = image.add(json.dumps(manifest).encode(), MANIFEST)["digest"]
    return image


def busybox_layer() -> bytes:
    """A root file system with a shell and the usual small programs."""
    directories = ("bin", "dev", "etc", "home", "home/dev", "proc", "root", "run", "sys", "tmp")
    files: dict[str, bytes | str] = {f"{name}/": "" for name in directories}
    files["bin/busybox"] = Path(need("busybox")).read_bytes()
    files |= {f"bin/{name}": "busybox" for name in APPLETS.split()}
    files["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\ndev:x:1000:1000:dev:/home/dev:/bin/sh\n"
    files["etc/group"] = b"root:x:0:\ndev:x:1000:\nextra:x:2000:dev\n"
    return tar_of(files)


def busybox_image(**config: Any) -> OciImage:
    """An image of two layers; its command sleeps unless `config` says another one."""
    second = tar_of({"etc/layer": b"second\n"}, mode=0o644)
    return image_of(
        busybox_layer(),
        second,
        config={"Cmd": ["/bin/sleep", "1000"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"], **config},
    )
