"""A template with every attribute that needs no Kata: the plan after its apply is empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kled_provider.kata.container.declared.schema import KATA_CONTAINER
from kled_provider.kata.image.resource import KATA_IMAGE
from kled_provider.kata.network.schema import SCHEMA as KATA_NETWORK
from kled_provider.kata.volume.schema import SCHEMA as KATA_VOLUME
from kled_provider.plugin.schema import Schema
from tests.kit.cni import PLUGINS, why_not
from tests.kit.oci import busybox_image
from tests.kit.registry import open_image_server

pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not() or "-"), pytest.mark.slow]
SCHEMAS = {
    "kata_container": KATA_CONTAINER,
    "kata_image": KATA_IMAGE,
    "kata_network": KATA_NETWORK,
    "kata_volume": KATA_VOLUME,
}
# `credentials` excludes `username`; test_images.py has both.
NOT_HERE = {"kata_image.credentials", "kata_image.password_wo"}
NOT_HERE |= {f"kata_container.runtime.{n}" for n in ("config", "config_sha256", "annotations")}
OWNER = """
[networks]
plugin_directories = ["{plugins}"]
address_pools = ["10.214.0.0/16"]
[agent_bundles]
amd64 = "{directory}/bundle"
[places.vols]
path = "{directory}/vols"
uses = ["volume"]
read_only = false
[places.mounts]
path = "{directory}/mounts"
uses = ["mount"]
read_only = false
[places.pop]
path = "{directory}/pop"
uses = ["populate"]
[devices]
null = "/dev/null"
[without_kata]
capabilities = ["CAP_SYS_PTRACE"]
devices = ["null"]
[registries."{registry}"]
plain_http = true
"""
TEMPLATE = """
resource "kata_image" "base" {
  name     = "kled.test/busybox:1"
  platform = "linux/amd64"
  archive  = "%(d)s/images/busybox.tar"
  pull_triggers = ["a"]
  keep_on_destroy = false
}
resource "kata_image" "pulled" {
  name = "%(r)s/a/busybox:1"
  username = "ann"
  password_wo = "secret"
}
data "kata_image" "seen" { name = kata_image.base.id }
resource "kata_volume" "home" {
  name = "home"
  kind = "directory"
  place = "vols"
  read_only = false
  retention = "keep"
  uid = 1000
  gid = 1000
  mode = "0700"
  populate {
    place = "pop"
    path = "seed"
  }
}
resource "kata_volume" "tmp" {
  name = "tmp"
  kind = "tmpfs"
  size = 5
}
resource "kata_network" "net" {
  name = "net"
  mtu = 1400
  internal = false
  isolated = true
  dns = ["192.0.2.53"]
  dns_search = ["a.example"]
  dns_options = ["ndots:3"]
  ipam {
    subnet = "10.214.7.0/24"
    gateway = "10.214.7.1"
    ip_range = "10.214.7.64/26"
  }
}
resource "kata_network" "net2" { name = "net2" }
resource "kata_container" "ws" {
  name = "ws"
  image = data.kata_image.seen.id
  command = ["/bin/sh", "-c"]
  args = ["echo $ONE; sleep 1000"]
  env = { ONE = "1", EMPTY = "", NOTHING = null }
  env_sensitive = { TWO = "2" }
  user = "1000:1000"
  workdir = "/tmp/new dir"
  hostname = "box.example"
  read_only = false
  privileged = false
  sysctls = { "net.ipv4.ip_forward" = "1", "kernel.shmmax" = "1000000" }
  pids_limit = 100
  shm_size = 32
  hosts = { db = "192.0.2.7", gw = "host-gateway" }
  dns = ["192.0.2.54", "2001:db8::1"]
  dns_search = ["b.example"]
  dns_options = ["timeout:1"]
  memory = 128
  vcpus = 1/3
  labels = { team = "x", nothing = null, empty = "" }
  restart = "always"
  must_run = true
  stop_signal = "SIGKILL"
  stop_timeout = 1
  runtime {
    handler = "runc"
  }
  agent {
    id = "a-1"
    token = "tok"
    user = "dev"
    url = "https://c.example"
    env = { X = "1" }
  }
  volume {
    volume = kata_volume.home.id
    target = "/home/dev"
    read_only = false
  }
  volume {
    volume = kata_volume.tmp.id
    target = "/t"
  }
  mount {
    source = "%(d)s/mounts/sub"
    target = "/m/"
    read_only = true
  }
  mount {
    source = "%(d)s/mounts/file"
    target = "/mf"
  }
  tmpfs {
    target = "/scratch"
    size = 8
    mode = "0700"
  }
  upload {
    file = "/etc/a b"
    content = "x"
    mode = "600"
  }
  upload {
    file = "/deep/er/b64"
    content_base64 = "AAEC"
  }
  upload {
    file = "/up"
    source = "%(d)s/images/up.txt"
  }
  network {
    network = kata_network.net.id
    address = "10.214.7.70"
    mac = "02:00:00:00:00:07"
  }
  network { network = kata_network.net2.id }
  port {
    internal = 80
    external = 28087
    protocol = "tcp"
    ip = "127.0.0.1"
  }
  port {
    internal = 53
    external = 28087
    protocol = "udp"
  }
  capabilities {
    add = ["SYS_PTRACE"]
    drop = ["CAP_MKNOD"]
  }
  device {
    name = "null"
    target = "/dev/mine"
    permissions = "rw"
  }
  rlimit {
    name = "nofile"
    soft = 100
    hard = 200
  }
  rlimit {
    name = "core"
    soft = -1
    hard = -1
  }
  log {
    max_size = 1
    max_files = 1
  }
  timeouts {
    create = "2m"
    update = "1m"
    delete = "1h"
  }
}
"""


def prepare(directory: Path) -> None:
    for name in ("vols", "mounts/sub", "pop/seed", "bundle/bin"):
        (directory / name).mkdir(parents=True)
    (directory / "mounts/file").write_text("hi\n")
    (directory / "images/up.txt").write_text("up\n")
    (directory / "pop/seed/a").write_text("a")
    init = directory / "bundle/bin/kled-init"  # the bundle's own is tried elsewhere
    init.write_text("#!/bin/sh\nexec sleep 1000\n")
    init.chmod(0o755)


def unset(kind: str, schema: Schema, instances: list[dict[str, Any]]) -> set[str]:
    """The settable attributes that no instance has a value of."""
    found = {a.name for a in schema.attributes if a.is_settable}
    found -= {name for values in instances for name, value in values.items() if value is not None}
    for block in schema.blocks:
        given = [v[block.name] for v in instances if v[block.name]]
        objects = [o for one in given for o in (one if isinstance(one, list) else [one])]
        names = {a.name for a in block.attributes if all(o[a.name] is None for o in objects)}
        found |= {f"{block.name}.{name}" for name in names}
    return {f"{kind}.{name}" for name in found}


async def test_the_plan_after_an_apply_of_everything_is_empty(kata: Any, platform: Any) -> None:
    directory = platform.directory
    prepare(directory)
    with open_image_server(images={"a/busybox:1": busybox_image()}) as registry:
        registry.account = "ann:secret"
        platform.write(
            OWNER.format(directory=directory, plugins=PLUGINS, registry=registry.address)
        )
        kata.write(TEMPLATE % {"d": directory, "r": registry.address})
        await kata("apply", "-auto-approve")
        assert "No changes" in await kata("plan", "-detailed-exitcode")
        await kata("state", "rm", "kata_container.ws")
        await kata("import", "kata_container.ws", "ws")
        assert "No changes" in await kata("plan", "-detailed-exitcode")
        managed = [r for r in kata.state().values() if r["mode"] == "managed"]
        for kind, schema in SCHEMAS.items():
            of_kind = [r["instances"][0]["attributes"] for r in managed if r["type"] == kind]
            assert unset(kind, schema, of_kind) - NOT_HERE == set()
        await kata("destroy", "-auto-approve")
    assert platform.containerd.names("containers") == []
