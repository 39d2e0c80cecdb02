"""What runtime-rs 4.1.0 looks at when a task is created, as far as no VM is needed for it.

Written from Kata's own sources (src/libs/kata-types/src/config, src/runtime-rs) and not from the
provider's tables, so that the two can disagree.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.kit.kata_shim.wire import fields_of

USUAL = tuple(
    f"{directory}/kata-containers/runtime-rs/configuration.toml"
    for directory in ("/etc", "/usr/share/defaults", "/opt/kata/share/defaults")
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(" "))


PREFIX = "io.katacontainers.config."
AGENT_KEYS = _words(
    "enable_debug log_level enable_tracing debug_console_enabled server_port log_port "
    "passfd_listener_port dial_timeout_ms reconnect_timeout_ms cdh_api_timeout_ms "
    "create_container_timeout health_check_request_timeout_ms kernel_modules "
    "container_pipe_size launch_process_timeout visible_cdi_devices policy mem_agent "
    "request_timeout_ms"
)
MEM_AGENT_KEYS = _words(
    "enable mem_agent_enable memcg_disable memcg_swap memcg_swappiness_max "
    "memcg_period_secs memcg_period_psi_percent_limit "
    "memcg_eviction_psi_percent_limit memcg_eviction_run_aging_count_min "
    "compact_disable compact_period_secs compact_period_psi_percent_limit "
    "compact_psi_percent_limit compact_sec_max compact_order compact_threshold "
    "compact_force_times"
)
VCPUS = {"qemu": 256, "clh": 256, "dragonball": 256, "firecracker": 32}
MEMORY_MIB = {"qemu": 64, "clh": 64, "dragonball": 64, "firecracker": 128}
FILES = ("path", "ctlpath", "jailer_path", "kernel", "image", "initrd", "firmware")
SHARING = ("virtio-fs", "inline-virtio-fs", "virtio-fs-nydus")
# What Dragonball, which runs inside the shim, must not have.
DRAGONBALL_OFF = _words(
    "path ctlpath firmware machine_type pflashes enable_iommu enable_iommu_platform "
    "default_bridges pcie_root_port pcie_switch_port rootless enable_iothreads"
)
ANNOTATIONS = _words(
    "default_vcpus default_memory kernel_params kernel_verity_params enable_iommu "
    "enable_iommu_platform default_max_vcpus kernel image initrd firmware "
    "machine_type machine_accelerators cpu_features guest_hook_path shared_fs "
    "virtio_fs_cache hugepage_type block_device_driver path jailer_path "
    "entropy_source vhost_user_store_path virtio_fs_daemon virtio_fs_extra_args "
    "virtio_fs_cache_size memory_slots enable_hugepages enable_guest_swap "
    "enable_mem_prealloc enable_virtio_mem rootless network_queues"
)


class RefusedError(Exception):
    """What the real shim would answer."""


def check_create(
    create: Iterable[tuple[int, bytes | int]], bundle: Path, run: Path
) -> Iterator[str]:
    """Look at a CreateTaskRequest; yields what to log. Raises RefusedError."""
    fields = dict(create)
    for number in (5, 6, 7):
        _stdio(bytes(fields.get(number, b"")).decode())
    path = _config_path(fields.get(10, b""))
    spec = json.loads((bundle / "config.json").read_text())
    hypervisor, config = ("qemu", {}) if path is None else load_configuration(path)
    yield f"configuration {path or 'none: the defaults'}, hypervisor {hypervisor}"
    table = config.get("hypervisor", {}).get(hypervisor, {})
    yield from _annotations(spec.get("annotations") or {}, table)
    size = _size(spec, table, config.get("runtime", {}), hypervisor)
    yield f"the VM would have {size[0]} MiB and {size[1]} vCPUs"
    yield _network(spec)
    yield from _volumes(spec, table)
    found = {"hypervisor": hypervisor, "config": path, "memory_mib": size[0], "vcpus": size[1]}
    (run / "sandbox.json").write_text(json.dumps(found))


def _exists(path: str) -> bool:
    return Path(path).exists()


def _stdio(path: str) -> None:
    scheme = path.partition("://")[0] if "://" in path else ""
    if scheme not in ("", "binary", "fifo"):
        raise RefusedError(f"unsupported stdio scheme {scheme}: {path}")


def _config_path(option: bytes | int) -> str | None:
    """`config_path` of runtimeoptions.v1.Options in an Any, whatever its URL."""
    value = dict(fields_of(option)).get(2, b"") if isinstance(option, bytes) else b""
    path = bytes(dict(fields_of(bytes(value))).get(2, b"")).decode()
    if path:
        return path
    named = os.environ.get("KATA_SHIM_CONFIG")
    return named or next((usual for usual in USUAL if _exists(usual)), None)


def load_configuration(path: str) -> tuple[str, dict[str, Any]]:
    """Load a configuration with its drop-ins, as Kata does. Raises RefusedError."""
    config = _parse(Path(path))
    directory = Path(path).parent / "config.d"
    for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not stat.S_ISREG(entry.lstat().st_mode):
            raise RefusedError(f"drop-in {entry} is no regular file")
        _merge(config, _parse(entry))
    runtime = config.get("runtime", {})
    hypervisor = runtime.get("hypervisor_name", "")
    if runtime.get("name") != "virt_container" or runtime.get("agent_name") != "kata":
        raise RefusedError("runtime name or agent name is not set")
    if hypervisor not in VCPUS or hypervisor not in config.get("hypervisor", {}):
        raise RefusedError(f"hypervisor {hypervisor!r} is not configured")
    _agent(config.get("agent", {}).get("kata", {}))
    for name, table in config["hypervisor"].items():
        _hypervisor(name, table)
        _forbidden(name, table)
    _runtime(runtime, config["hypervisor"][hypervisor])
    return hypervisor, config


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RefusedError(f"load config {path}: {error}") from error


def _merge(lower: dict[str, Any], higher: dict[str, Any]) -> None:
    for key, value in higher.items():
        if isinstance(value, dict) and isinstance(lower.get(key), dict):
            _merge(lower[key], value)
        else:
            lower[key] = value


def _agent(agent: dict[str, Any]) -> None:
    mem_agent = agent.get("mem_agent", {})
    for table, keys in ((agent, AGENT_KEYS), (mem_agent, MEM_AGENT_KEYS)):
        for key in set(table) - set(keys):
            raise RefusedError(f"unknown field `{key}`")
    if {"enable", "mem_agent_enable"} <= set(mem_agent):
        raise RefusedError("duplicate field `mem_agent_enable`")
    if agent.get("reconnect_timeout_ms", 3000) < agent.get("dial_timeout_ms", 10):
        raise RefusedError("reconnect_timeout_ms is less than dial_timeout_ms")


def _hypervisor(name: str, table: dict[str, Any]) -> None:
    for key in FILES:
        if table.get(key) and not _exists(table[key]):
            raise RefusedError(f"{name}: {key} `{table[key]}` is invalid: No such file")
    daemon = table.get("virtio_fs_daemon", "")
    if table.get("shared_fs") == "virtio-fs" and not _exists(daemon):
        raise RefusedError(f"{name}: virtio-fs daemon `{daemon}` is invalid")
    if not table.get("kernel") or not (table.get("image") or table.get("initrd")):
        raise RefusedError(f"{name}: guest kernel, or both guest image and initrd, are empty")
    if table.get("image") and table.get("initrd"):
        raise RefusedError(f"{name}: guest image and initrd are both set")
    if max(table.get("default_vcpus", 1), table.get("default_maxvcpus", 0)) > VCPUS.get(name, 256):
        raise RefusedError(f"{name} can not support so many vCPUs")
    if (table.get("default_memory") or 128) < MEMORY_MIB.get(name, 64):
        raise RefusedError(f"{name} has minimal memory limitation {MEMORY_MIB[name]}")


def _forbidden(name: str, table: dict[str, Any]) -> None:
    if name == "qemu" and table.get("enable_guest_swap"):
        raise RefusedError("Qemu hypervisor doesn't support enable_guest_swap")
    if name in ("qemu", "clh") and (table.get("jailer_path") or table.get("valid_jailer_paths")):
        raise RefusedError(f"Path for {name} jailer should be empty")
    if name == "qemu" and table.get("block_device_driver") == "virtio-blk-mmio":
        raise RefusedError("Qemu doesn't support virtio-blk-mmio")
    if name == "dragonball" and (wrong := [key for key in DRAGONBALL_OFF if table.get(key)]):
        raise RefusedError(f"dragonball hypervisor does not support {wrong[0]}")


def _runtime(runtime: dict[str, Any], table: dict[str, Any]) -> None:
    model = runtime.get("internetworking_model") or "tcfilter"
    if model not in ("macvtap", "none", "tcfilter", "l3forwarding"):
        raise RefusedError(f"Invalid internetworking_model `{model}` in configuration file")
    if runtime.get("disable_new_netns") and model != "none":
        raise RefusedError("disable_new_netns works only with internetworking_model none")
    for bind in runtime.get("sandbox_bind_mounts", ()):
        if not _exists(re.sub(r":r[ow]$", "", bind)):
            raise RefusedError(f"sandbox bind mount `{bind}` is invalid")
        if table.get("shared_fs") not in SHARING:
            raise RefusedError("sandbox bind mounts need a shared file system")


def _annotations(annotations: dict[str, str], table: dict[str, Any]) -> Iterator[str]:
    enabled = table.get("enable_annotations", [])
    for name in annotations:
        key = name.removeprefix(f"{PREFIX}hypervisor.")
        if key == name:
            if name.startswith(PREFIX):
                yield f"annotation {name} is taken"
        elif not any(re.search(pattern, key) for pattern in enabled):
            yield f"warning: annotation {name} is not enabled, ignored"
        elif key not in ANNOTATIONS:
            raise RefusedError(f"annotation {name} is not supported")


def _size(
    spec: dict[str, Any], table: dict[str, Any], runtime: dict[str, Any], hypervisor: str
) -> tuple[int, int]:
    resources = spec.get("linux", {}).get("resources", {})
    limit = resources.get("memory", {}).get("limit") or 0
    cpu = resources.get("cpu", {})
    processors = (cpu.get("quota") or 0) / (cpu.get("period") or 100000)
    memory, vcpus = table.get("default_memory") or 2048, table.get("default_vcpus") or 1
    if limit > 0 or processors > 0:
        if runtime.get("static_sandbox_resource_mgmt", True):
            mib = -(-limit // 2**20)
            memory = mib + mib % 2 + table.get("overhead_memory", 32)
            vcpus = processors + table.get("overhead_vcpus", 0.2)
        else:
            memory, vcpus = memory + limit // 2**20, vcpus + processors
    if memory < MEMORY_MIB[hypervisor]:
        raise RefusedError(f"a VM of {memory} MiB does not boot")
    return int(memory), max(1, int(-(-round(vcpus, 6) // 1)))


def _network(spec: dict[str, Any]) -> str:
    for namespace in spec.get("linux", {}).get("namespaces", ()):
        if namespace["type"] == "network":
            path = namespace.get("path")
            if path and not _exists(path):
                raise RefusedError(f"network namespace {path} does not exist")
            return f"network namespace {path}" if path else "a network namespace of its own, empty"
    return "no network namespace: the VM has no network"


def _volumes(spec: dict[str, Any], table: dict[str, Any]) -> Iterator[str]:
    shares = table.get("shared_fs", "virtio-fs") in SHARING
    for mount in spec.get("mounts", ()):
        kind, source = mount.get("type"), mount.get("source", "")
        if kind in ("directvol", "spdkvol", "spoolvol", "vfiovol"):
            raise RefusedError(f"{kind} at {mount['destination']}: the double attaches no device")
        if kind == "bind" or "bind" in mount.get("options", ()):
            if not _exists(source):
                raise RefusedError(f"mount source {source} does not exist")
            yield f"{mount['destination']}: {'shared' if shares else 'copied at start'}"
    if not any(m["destination"] == "/etc/resolv.conf" for m in spec.get("mounts", ())):
        yield "warning: no /etc/resolv.conf: the guest has no name servers"
