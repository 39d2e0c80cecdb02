"""Images from a registry and from archives, on a real containerd."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit.oci import (
    INDEX,
    MANIFEST,
    OciImage,
    busybox_image,
    busybox_layer,
    image_of,
    tar_of,
)
from tests.kit.registry import ImageServer, open_image_server

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(platform: Any) -> Iterator[ImageServer]:
    with open_image_server(images={"a/busybox:1": busybox_image()}) as opened:
        password = platform.directory / "password"
        password.write_text("secret\n")
        platform.write(
            f'[registries."{opened.address}"]\nplain_http = true\n'
            f'[credentials.own]\nregistry = "{opened.address}"\nusername = "ann"\n'
            f'password_file = "{password}"\n'
        )
        yield opened


def attributes(terraform: Any) -> dict[str, Any]:
    return dict(terraform.state()["kata_image.base"]["instances"][0]["attributes"])


def image(name: str, more: str = "") -> str:
    return f'resource "kata_image" "base" {{\n  name = "{name}"\n  {more}\n}}\n'


async def refused(terraform: Any) -> str:
    output: str = await terraform("apply", "-auto-approve", "-no-color", code=1)
    return " ".join(" ".join(line.lstrip("│╷╵ ") for line in output.splitlines()).split())


async def test_a_pull_goes_on_where_it_was_cut_off(
    kata: Any, registry: ImageServer, platform: Any, host: Any
) -> None:
    registry.cuts = 3
    kata.write(image(f"{registry.address}/a/busybox:1"))
    await kata("apply", "-auto-approve")
    found = attributes(kata)
    assert found["id"] == f"{registry.address}/a/busybox:1@{found['digest']}"
    assert found["command"] == ["/bin/sleep", "1000"]
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    assert any("Fetching layer 1 of 2" in message for message in host.messages)
    fetched = [line for line in registry.requests if "/blobs/" in line and " 206 " in line]
    assert len(fetched) == 3
    unpacked = platform.containerd.ctr("snapshots", "ls").stdout
    assert unpacked.count("Committed") == 2
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("images") == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_an_account_is_of_the_owners_file_or_the_templates(
    kata: Any, registry: ImageServer, auth: str
) -> None:
    registry.account, registry.auth = "ann:secret", auth
    name = f"{registry.address}/a/busybox:1"
    kata.write(image(name))
    assert f"refuses {name} without an account (HTTP 401)" in await refused(kata)
    kata.write(image(name, 'username = "ann"\n  password_wo = "wrong"'))
    said = await refused(kata)
    assert "as 'ann' (HTTP 401)" in said
    assert ': username = "ann" ' in said, "at the account"
    for more in ('credentials = "own"', 'username = "ann"\n  password_wo = "secret"'):
        kata.write(image(name, more))
        await kata("apply", "-auto-approve")
        assert "secret" not in (kata.directory / "terraform.tfstate").read_text()
        await kata("destroy", "-auto-approve")


async def test_a_digest_is_what_counts(kata: Any, registry: ImageServer) -> None:
    wanted = registry.images["a/busybox:1"].manifest
    name = f"{registry.address}/a/busybox:1@{wanted}"
    kata.write(image(name))
    await kata("apply", "-auto-approve")
    assert attributes(kata)["digest"] == wanted
    await kata("destroy", "-auto-approve")
    kata.write(image(name.replace(wanted, f"sha256:{'0' * 64}")))
    assert "has no" in await refused(kata)


async def test_a_name_may_be_pinned_to_an_index_and_long(
    kata: Any, registry: ImageServer, platform: Any
) -> None:
    index = indexed(registry.images["a/busybox:1"], architecture="amd64")
    long = "a/" + "x" * 200
    registry.images["a/index:1"] = registry.images[f"{long}:1"] = index
    for name in (
        f"a/index@{index.manifest}",
        f"a/index:1@{index.manifest}",
        f"{long}:1",
        f"{long}@{index.manifest}",
    ):
        full = f"{registry.address}/{name}"
        by_id = BY_NAME.format(name="${kata_image.base.id}")
        by_name = BY_NAME.format(name=f'{full}"\n  depends_on = [kata_image.base] #')
        kata.write(image(full) + by_id + by_name.replace("other", "named"))
        await kata("apply", "-auto-approve")
        await kata("plan", "-detailed-exitcode")
        assert attributes(kata)["digest"] == registry.images["a/busybox:1"].manifest
        await kata("destroy", "-auto-approve")
    archive = f'archive = "{platform.directory}/images/busybox.tar"'
    kata.write(image(f"kled.test/x@{index.manifest}", archive))
    assert f"and not {index.manifest}" in await refused(kata)
    assert platform.containerd.names("images") == []


async def test_what_cannot_be_used_is_said_at_its_attribute(
    kata: Any, registry: ImageServer, platform: Any
) -> None:
    registry.images["a/arm:1"] = image_of(busybox_layer(), architecture="arm64")
    registry.images["a/index:1"] = indexed(
        registry.images["a/arm:1"], architecture="arm64", variant="v8"
    )
    wrong = image_of(tar_of({"only-here": os.urandom(5000)}))
    layer = json.loads(wrong.blobs[wrong.manifest])["layers"][0]["digest"]
    wrong.blobs[layer] = wrong.blobs[layer][:-20]
    registry.images["a/cut:1"] = wrong
    for repository, said in (
        ("a/none", "has no"),
        ("a/arm", "it is for linux/arm64, and not for linux/amd64"),
        ("a/index", "it is not there for linux/amd64; it is for linux/arm64"),
        ("a/cut", "is smaller than said"),
    ):
        kata.write(image(f"{registry.address}/{repository}:1"))
        assert said in await refused(kata), repository
    kata.write(image(f"{registry.address}/a/busybox:1", 'platform = "linux/arm64"'))
    assert ': platform = "linux/arm64" ' in await refused(kata), "at the platform"
    kata.write(image("127.0.0.1:1/a/busybox:1"))
    assert "127.0.0.1:1 cannot be reached" in await refused(kata)
    kata.write(image(f"{registry.address}/a/Busybox"))
    assert "is no name of an image" in await refused(kata)
    assert platform.containerd.names("images") == []
    assert platform.containerd.names("leases") == []


def indexed(of: OciImage, **platform: str) -> OciImage:
    made = OciImage(blobs=dict(of.blobs))
    entry = {
        "mediaType": MANIFEST,
        "digest": of.manifest,
        "size": len(of.blobs[of.manifest]),
        "platform": {"os": "linux", **platform},
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    made.manifest = made.add(index.encode(), INDEX)["digest"]
    return made


async def test_archives_of_every_kind_are_taken(kata: Any, platform: Any) -> None:
    images = platform.directory / "images"
    layer = busybox_layer()
    (images / "root.tar").write_bytes(layer)
    (images / "docker.tar").write_bytes(docker_archive(layer))
    for name in ("busybox", "root", "docker"):
        kata.write(image(f"kled.test/{name}:1", f'archive = "{images}/{name}.tar"'))
        await kata("apply", "-auto-approve")
        assert attributes(kata)["architecture"] == "amd64"
        assert platform.containerd.names("images") == [f"kled.test/{name}:1"]
    await kata("destroy", "-auto-approve")
    (images / "bad.tar").write_bytes(b"no tar" * 1000)
    (images / "gone.tar").symlink_to("/etc/passwd")
    for name, said in (("bad", "it is no tar"), ("gone", "gone.tar"), ("../kata", "'..'")):
        kata.write(image("kled.test/x:1", f'archive = "{images}/{name}.tar"'))
        assert said in await refused(kata)


def docker_archive(layer: bytes) -> bytes:
    """What `docker save` writes."""
    config = next(
        data for data in image_of(layer).blobs.values() if data.startswith(b'{"architecture"')
    )
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["l.tar"]}])
    return tar_of(
        {"manifest.json": manifest.encode(), "config.json": config, "l.tar": layer}, mode=0o644
    )


async def test_several_with_the_same_layers_are_taken_at_once(
    kata: Any, registry: ImageServer, platform: Any
) -> None:
    big = tar_of({f"file-{n}": os.urandom(1 << 20) for n in range(8)})
    names = [f"a/big:{n}" for n in range(4)]
    registry.images |= {n: image_of(big, config={"Cmd": [f"/{n}"]}) for n in names}
    images = "\n".join(
        f'resource "kata_image" "n{i}" {{\n  name = "{registry.address}/{name}"\n}}'
        for i, name in enumerate(names)
    )
    kata.write(images)
    await kata("apply", "-auto-approve")
    assert len(platform.containerd.names("images")) == len(names)
    assert len([line for line in registry.requests if layer_of(registry, names[0]) in line]) == 1
    await kata("destroy", "-auto-approve")


def layer_of(registry: ImageServer, name: str) -> str:
    image = registry.images[name]
    return str(json.loads(image.blobs[image.manifest])["layers"][0]["digest"])


async def test_an_image_goes_with_the_last_workspace_that_holds_it(
    kata: Any, platform: Any
) -> None:
    """Made by two, removed by one."""
    kata.write(image("kled.test/shared:1", f'archive = "{platform.directory}/images/busybox.tar"'))
    await kata("apply", "-auto-approve")
    other = "kled.dev/held-by.another=1"
    platform.containerd.ctr("images", "label", "kled.test/shared:1", other)
    await kata("taint", "kata_image.base")
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("images") == ["kled.test/shared:1"]
    platform.containerd.ctr("images", "rm", "kled.test/shared:1")


async def test_an_import_knows_how_the_workspace_got_it(kata: Any, platform: Any) -> None:
    more = f'archive = "{platform.directory}/images/busybox.tar"\n  pull_triggers = ["b", "a"]'
    kata.write(image("kled.test/own:1", more))
    await kata("apply", "-auto-approve")
    for _ in range(2):
        await kata("state", "rm", "kata_image.base")
        await kata("import", "kata_image.base", "kled.test/own:1")
        assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("images") == []


async def test_one_that_is_kept_goes_when_its_room_is_wanted(kata: Any, platform: Any) -> None:
    archive = f'archive = "{platform.directory}/images/busybox.tar"\n  keep_on_destroy = true'
    names = platform.containerd.names
    kata.write(image("kled.test/first:1", archive))
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")
    assert names("images") == ["kled.test/first:1"]
    kata.write(image("kled.test/second:1", archive))
    await kata("apply", "-auto-approve")
    assert names("images") == ["kled.test/first:1", "kled.test/second:1"]
    await kata("destroy", "-auto-approve")
    platform.write("[images]\nkeep_bytes = 0\n")
    kata.write(image("kled.test/third:1", archive.replace("true", "false")))
    await kata("apply", "-auto-approve")
    assert names("images") == ["kled.test/third:1"]
    await kata("destroy", "-auto-approve")
    assert names("images") == []


BY_NAME = """
data "kata_image" "other" {{
  name = "{name}"
}}
"""
CONTAINER = """
resource "kata_container" "ws" {{
  name   = "ws"
  image  = "{name}"
  memory = 64
  runtime {{ handler = "runc" }}
}}
"""


async def test_what_was_pulled_with_an_account_is_for_its_holders_alone(
    kata: Any, host: Any, registry: ImageServer, platform: Any
) -> None:
    registry.account = "ann:secret"
    name = f"{registry.address}/a/busybox:1"
    own = image(name, 'credentials = "own"')
    kata.write(own)
    await kata("apply", "-auto-approve")
    digest = attributes(kata)["digest"]
    kata.write(own + BY_NAME.format(name=name))
    await kata("plan")

    (kata.directory / "terraform.tfstate").rename(kata.directory / "of-the-first")
    host.workspace_id = "w-2"
    for used in (name, f"{name}@{digest}"):
        unusable = f"There is no '{used}' in containerd that this workspace may use"
        for using in (BY_NAME, CONTAINER):
            kata.write(using.format(name=used))
            assert unusable in await refused(kata), using
    kata.write(image(name) + f'import {{\n  to = kata_image.base\n  id = "{name}"\n}}\n')
    assert "There is no such image" in await refused(kata)
    assert platform.containerd.names("containers") == []

    kata.write(own)  # it has an account of its own
    await kata("apply", "-auto-approve")
    kata.write(own + BY_NAME.format(name=name))
    await kata("plan")
    await kata("destroy", "-auto-approve")
    (kata.directory / "of-the-first").rename(kata.directory / "terraform.tfstate")
    host.workspace_id = "w-1"
    kata.write(own)
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")


async def test_what_needs_no_account_is_for_all(
    kata: Any, host: Any, registry: ImageServer, platform: Any
) -> None:
    """Also where somebody else pulls it with an account, for more pulls an hour."""
    name = f"{registry.address}/a/busybox:1"
    kata.write(image(name))
    await kata("apply", "-auto-approve")
    found = attributes(kata)
    states = [kata.directory / each for each in ("terraform.tfstate", "of-w-1", "of-w-2")]
    states[0].rename(states[1])
    host.workspace_id = "w-2"
    kata.write(image(name, 'credentials = "own"'))
    await kata("apply", "-auto-approve")
    states[0].rename(states[2])
    host.workspace_id = "w-3"
    kata.write(BY_NAME.format(name=name))
    await kata("apply", "-auto-approve")
    saved = json.loads(states[0].read_text())
    (shown,) = saved["resources"][0]["instances"]
    alike = ("id", "digest", "size", "architecture", "user", "entrypoint", "command")
    assert {n: shown["attributes"][n] for n in alike} == {n: found[n] for n in alike}
    kata.write("")
    for number, state in enumerate(states[1:], start=1):
        state.rename(states[0])
        host.workspace_id = f"w-{number}"
        await kata("apply", "-auto-approve")
    assert platform.containerd.names("images") == []


async def test_who_held_what_a_name_stood_for_before_holds_it_no_more(
    kata: Any, host: Any, registry: ImageServer, platform: Any
) -> None:
    registry.account = "ann:secret"
    name = f"{registry.address}/a/busybox:1"
    kata.write(image(name, 'credentials = "own"'))
    await kata("apply", "-auto-approve")
    (kata.directory / "terraform.tfstate").rename(kata.directory / "of-the-first")
    host.workspace_id = "w-2"
    registry.images["a/busybox:1"] = image_of(busybox_layer(), tar_of({"new": b"1"}))
    await kata("apply", "-auto-approve")
    host.workspace_id = "w-1"
    kata.write(BY_NAME.format(name=name))
    assert "that this workspace may use" in await refused(kata)
    kata.write("")
    host.workspace_id = "w-2"
    platform.containerd.ctr("images", "rm", name)
