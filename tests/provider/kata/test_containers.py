"""Containers by Terraform on a real containerd, with runc and with the handler of Kata."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.kit.oci import busybox_layer, image_of
from tests.kit.waiting import wait_until
from tests.provider.kata.containers import attributes, nothing_is_left, refused, template
from tests.provider.kata.test_restarting import until_restarted, until_stopped

pytestmark = pytest.mark.slow


async def test_a_container_runs_stays_and_goes(kata: Any, platform: Any) -> None:
    kata.write(template(platform))
    await kata("init")
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    assert made["status"] == "running"
    assert platform.containerd.names("containers") == [made["id"]]
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    assert platform.containerd.names("images") == []
    nothing_is_left(platform)


EVERYTHING = """
  command   = ["/bin/sh", "-c", "echo begun; exec sleep 1000"]
  env       = { ONE = "1" }
  user      = "dev:extra"
  workdir   = "/tmp"
  hostname  = "box.example"
  hosts     = { db = "192.0.2.7" }
  dns       = ["192.0.2.53"]
  dns_search = ["example.org"]
  dns_options = ["ndots:2"]
  labels    = { team = "a b", "x/y" = "" }
  vcpus     = 0.5
  pids_limit = 50
  shm_size  = 16
  read_only = true
  sysctls   = { "net.ipv4.ip_unprivileged_port_start" = "80" }
  stop_signal = "SIGKILL"
  stop_timeout = 1
  tmpfs {
    target = "/scratch"
    size   = 8
  }
  upload {
    file    = "/etc/motd"
    content = "hello\\n"
    mode    = "0444"
  }
  rlimit {
    name = "nofile"
    soft = 100
    hard = 200
  }
  capabilities {
    drop = ["ALL"]
  }
  log {
    max_size  = 1
    max_files = 3
  }
  timeouts {
    create = "2m"
    delete = "90s"
  }
"""


async def test_every_attribute_has_its_effect_and_the_next_plan_is_empty(
    kata: Any, platform: Any
) -> None:
    kata.write(template(platform, EVERYTHING))
    await kata("apply", "-auto-approve")
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    made = attributes(kata)
    script = (
        "id; pwd; hostname; cat /etc/hosts /etc/resolv.conf /etc/motd; df -m /scratch /dev/shm; "
        "echo $ONE $FROM_IMAGE; touch /x; cat /proc/self/status"
    )
    process = platform.containerd.ctr(
        "tasks", "exec", "--exec-id", "look", made["id"], "/bin/sh", "-c", f"({script}) 2>&1"
    )
    shown = process.stdout
    for expected in (
        "uid=1000(dev) gid=2000(extra)", "\n/tmp\n", "box.example", "192.0.2.7 db",
        "nameserver 192.0.2.53", "search example.org", "options ndots:2", "hello",
        "/scratch", "1 yes", "Read-only file system",
    ):  # fmt: skip
        assert expected in shown, (expected, shown)
    limits = Path(f"/proc/{made['pid']}/limits").read_text()
    assert re.search(r"Max open files +100 +200 ", limits), limits
    info = platform.containerd.ctr("containers", "info", made["id"]).stdout
    assert '"team": "a b"' in info
    assert '"limit": 134217728' in info
    cgroup, namespace = Path("/sys/fs/cgroup"), platform.containerd.namespace
    assert (
        cgroup / "memory" / namespace / made["id"] / "memory.limit_in_bytes"
    ).read_text() == "134217728\n"
    assert (cgroup / "cpu" / namespace / made["id"] / "cpu.cfs_quota_us").read_text() == "50000\n"
    assert (cgroup / "pids" / namespace / made["id"] / "pids.max").read_text() == "50\n"
    assert Path(made["log_path"]).read_text() == "begun\n"
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_a_changed_label_and_limit_change_the_container_that_runs(
    kata: Any, platform: Any
) -> None:
    kept = 'restart = "always"\n  labels'
    kata.write(template(platform, kept + ' = { a = "1" }'))
    await kata("apply", "-auto-approve")
    before = attributes(kata)
    kata.write(template(platform, kept + ' = { b = "2" }').replace("128", "256"))
    assert "0 added, 1 changed" in await kata("apply", "-auto-approve", "-no-color")
    after = attributes(kata)
    assert (after["id"], after["pid"]) == (before["id"], before["pid"])
    limit = Path(
        "/sys/fs/cgroup/memory",
        platform.containerd.namespace,
        after["id"],
        "memory.limit_in_bytes",
    )
    assert limit.read_text() == f"{256 << 20}\n"
    labels = platform.containerd.ctr("containers", "info", after["id"]).stdout
    assert '"b": "2"' in labels
    assert '"a": "1"' not in labels
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    platform.containerd.ctr("containers", "label", after["id"], "b=3")
    assert "1 to change" in await kata("plan", "-no-color")
    os.kill(after["pid"], signal.SIGKILL)
    await until_restarted(kata, after["pid"])
    assert limit.read_text() == f"{256 << 20}\n"  # of the task that containerd has made
    await kata("destroy", "-auto-approve")


def with_supervisor(platform: Any) -> None:
    """Let there be a bundle whose supervisor, in place of its work, prints where it is."""
    program = platform.directory / "bundle/bin/kled-init"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\npwd\nexec sleep 1000\n")
    program.chmod(0o755)
    platform.write(f'[agent_bundles]\namd64 = "{platform.directory}/bundle"\n')


async def test_a_working_directory_that_is_missing_is_made_for_what_the_supervisor_starts(
    kata: Any, platform: Any
) -> None:
    with_supervisor(platform)
    more = 'env_sensitive = { A = "b" }\n  user = "dev"\n  workdir = "/work/here"'
    kata.write(template(platform, more))
    await kata("apply", "-auto-approve")
    log = Path(attributes(kata)["log_path"])
    wait_until("it has started", log.exists)
    assert log.read_text() == "/work/here\n"
    for drop in ("ALL", "SETUID"):
        kata.write(template(platform, f'{more}\n  capabilities {{ drop = ["{drop}"] }}'))
        told = await refused(kata, "apply", "-auto-approve")
        assert "CAP_SETUID, or leave `user` out" in told
        assert f': capabilities {{ drop = ["{drop}"] }} ' in told
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_a_limit_below_what_is_used_changes_nothing(kata: Any, platform: Any) -> None:
    """The kernel refuses it (cgroup v1, memory.txt)."""
    held = 'command = ["/bin/sh", "-c", "head -c 90000000 /dev/zero >/m/x; echo held; sleep 1000"]'
    held += '\n  tmpfs { target = "/m" }'
    kata.write(template(platform, held))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    wait_until("the memory is used", Path(made["log_path"]).exists)
    kata.write(template(platform, held).replace("128", "64"))
    told = await refused(kata, "apply", "-auto-approve")
    assert "The memory limit is refused" in told
    assert ": memory = 64 " in told
    info = platform.containerd.ctr("containers", "info", made["id"]).stdout
    assert '"limit": 134217728' in info  # of a task that containerd makes later
    await kata("destroy", "-auto-approve")


async def test_with_kata_a_changed_limit_makes_a_new_vm(kata: Any, platform: Any) -> None:
    kata.write(template(platform, runc="kata"))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    assert made["sandbox_id"] == made["id"]
    info = platform.containerd.ctr("containers", "info", made["id"]).stdout
    assert "io.containerd.kata.v2" in info
    kata.write(template(platform, runc="kata").replace("128", "256"))
    assert "1 to add, 0 to change, 1 to destroy" in await kata("plan", "-no-color")
    await kata("apply", "-auto-approve")
    assert attributes(kata)["pid"] != made["pid"]
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_one_that_is_deleted_or_dead_is_made_again(kata: Any, platform: Any) -> None:
    kata.write(template(platform))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    os.kill(made["pid"], signal.SIGKILL)
    await until_stopped(platform, made["id"])
    assert "1 to add" in await kata("plan", "-no-color")
    await kata("apply", "-auto-approve")
    again = attributes(kata)
    assert again["pid"] != made["pid"]
    platform.containerd.remove_containers()
    assert "1 to add" in await kata("plan", "-no-color")
    await kata("apply", "-auto-approve")
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_one_that_has_ended_goes_when_nobody_wants_it(kata: Any, platform: Any) -> None:
    kata.write(template(platform))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    os.kill(made["pid"], signal.SIGKILL)
    await until_stopped(platform, made["id"])
    await kata("apply", "-auto-approve", "-refresh-only")
    assert (attributes(kata)["status"], attributes(kata)["exit_code"]) == ("stopped", 137)
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_the_signal_of_the_image_ends_it(kata: Any, platform: Any) -> None:
    (platform.directory / "said").mkdir()
    platform.write(
        f'[places.said]\npath = "{platform.directory}/said"\nuses = ["mount"]\nread_only = false\n'
    )
    of_image = {"Cmd": ["/bin/sh"], "StopSignal": "SIGUSR1"}
    archive = platform.directory / "images/busybox.tar"
    image_of(busybox_layer(), config=of_image).save(archive, "kled.test/busybox:1")
    script = (
        "trap 'echo usr1 > /said/it; exit' USR1; echo up > /said/up; while :; do sleep 0.1; done"
    )
    mount = f'mount {{\n source = "{platform.directory}/said"\n target = "/said"\n }}'
    kata.write(template(platform, f'command = ["/bin/sh", "-c", "{script}"]\n  {mount}'))
    await kata("apply", "-auto-approve")
    while not (platform.directory / "said/up").exists():
        await trio.sleep(0.05)
    await kata("destroy", "-auto-approve")
    assert (platform.directory / "said/it").read_text() == "usr1\n"


async def test_one_that_no_state_knows_is_adopted(kata: Any, platform: Any) -> None:
    kata.write(template(platform))
    await kata("apply", "-auto-approve")
    made = attributes(kata)
    (kata.directory / "terraform.tfstate").unlink()
    await kata("apply", "-auto-approve")
    assert attributes(kata)["pid"] == made["pid"]
    await kata("state", "rm", "kata_container.ws")
    await kata("import", "kata_container.ws", "ws")
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    assert attributes(kata)["pid"] == made["pid"]
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_one_whose_resource_is_renamed_runs_in_the_end(kata: Any, platform: Any) -> None:
    """Terraform destroys the old one while it creates the new one, which has the same name."""
    script = "trap true TERM; while :; do sleep 1; done"
    slow = f'command = ["/bin/sh", "-c", "{script}"]\n stop_timeout = 2'
    kata.write(template(platform, slow))
    await kata("apply", "-auto-approve")
    for name in ("again", "ws", "again"):
        kata.write(
            template(platform, slow).replace('"kata_container" "ws"', f'"kata_container" "{name}"')
        )
        await kata("apply", "-auto-approve")
        made = attributes(kata, f"kata_container.{name}")
        assert str(made["pid"]) in platform.containerd.ctr("tasks", "ls").stdout
        assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


async def test_one_that_is_replaced_before_it_is_destroyed_is_stopped_and_made_anew(
    kata: Any, platform: Any
) -> None:
    """Also unchanged: whoever says `-replace` wants a new one. It is told to stop, not killed."""
    script = "trap 'echo told to stop; exit' TERM; echo up; while :; do sleep 0.1; done"
    slow = f'command = ["/bin/sh", "-c", "{script}"]\n lifecycle {{ create_before_destroy = true }}'
    kata.write(template(platform, slow))
    await kata("apply", "-auto-approve")
    before = attributes(kata)
    log = Path(before["log_path"])
    wait_until("it is up", lambda: log.exists() and "up" in log.read_text())
    log.rename(platform.directory / "old.log")
    await kata("apply", "-auto-approve", "-replace=kata_container.ws")
    after = attributes(kata)
    assert after["id"] != before["id"]
    assert str(after["pid"]) in platform.containerd.ctr("tasks", "ls").stdout
    assert platform.containerd.names("containers") == [after["id"]]
    assert "told to stop" in (platform.directory / "old.log").read_text()
    assert "No changes" in await kata("plan", "-detailed-exitcode")
    await kata("destroy", "-auto-approve")
    nothing_is_left(platform)


# What is written, what is said, and the line of the template that it is said at.
REFUSED_BY_THE_PLAN = (
    ("privileged = true", "A privileged container without Kata", "privileged = true"),
    (
        'mount {\n source = "/etc"\n target = "/m"\n }',
        "'/etc' is not beneath a path that",
        'source = "/etc"',
    ),
    (
        'upload {\n file = "/x"\n source = "/etc/shadow"\n }',
        "'/etc/shadow' is not beneath",
        'source = "/etc/shadow"',
    ),
    ("port {\n internal = 80\n external = 8080\n }", "A port needs a network", "internal = 80"),
    ('device {\n name = "kvm"\n }', "There is no such device", 'name = "kvm"'),
    (
        'labels = { "kled.dev/workspace" = "w-2" }',
        "are not yours",
        'labels = { "kled.dev/workspace" = "w-2" }',
    ),
    ('labels = { "a\\u0007b" = "" }', "A label's name has", 'labels = { "a\\u0007b" = "" }'),
    ('hostname = "a b"', "Use a host name; got 'a b'.", 'hostname = "a b"'),
    ('env = { "A=B" = "" }', "Invalid env", 'env = { "A=B" = "" }'),
    ('sysctls = { "net/../x" = "" }', "no name of a kernel", 'sysctls = { "net/../x" = "" }'),
)
REFUSED_BY_A_CREATE = (
    ('user = "nobody-here"', "There is no such user", 'user = "nobody-here"'),
    ('command = ["/no/such/program"]', "containerd: ", 'command = ["/no/such/program"]'),
    (
        'volume {\n volume = "vol-1"\n target = "/v"\n }',
        "This workspace has no volume",
        'volume = "vol-1"',
    ),
    ('network {\n network = "net-1"\n }', "this workspace has no network", 'network = "net-1"'),
    ('agent {\n id = "a"\n token = "t"\n }', "The agent's bundle is missing", 'id = "a"'),
)


async def test_what_cannot_be_is_refused_by_the_plan(kata: Any, platform: Any) -> None:
    for more, said, line in REFUSED_BY_THE_PLAN:
        kata.write(template(platform, more))
        told = await refused(kata, "plan")
        assert said in told
        assert f": {line} " in told, told


async def test_a_create_that_fails_leaves_nothing(kata: Any, platform: Any) -> None:
    for more, said, line in REFUSED_BY_A_CREATE:
        kata.write(template(platform, more))
        told = await refused(kata, "apply", "-auto-approve")
        assert said in told
        assert f": {line} " in told, told
        nothing_is_left(platform)


async def test_without_an_image_or_containerd_it_is_said_where(kata: Any, platform: Any) -> None:
    text = template(platform).replace("kata_image.base.id", '"kled.test/none:1"')
    kata.write(text)
    told = await refused(kata, "apply", "-auto-approve")
    assert "There is no 'kled.test/none:1' in containerd" in told
    assert ': image = "kled.test/none:1" ' in told
    platform.file.write_text(
        platform.file.read_text().replace(platform.containerd.address, "/run/none.sock")
    )
    said = await refused(kata, "apply", "-auto-approve")
    assert "There is no containerd at /run/none.sock: No such file or directory" in said
