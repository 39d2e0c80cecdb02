"""Writes the OCI runtime specification of a container. No I/O.

Format: https://github.com/opencontainers/runtime-spec/blob/v1.0.2/config.md. Its defaults are those
that people know from containers: the usual capabilities, masked paths and read-only paths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kled_provider.kata.container.declared.block_rules import place_in_container

MIB: Final = 1 << 20
CPU_PERIOD_US: Final = 100_000
USUAL_CAPABILITIES: Final = (
    "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_MKNOD", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
    "CAP_SETUID", "CAP_SYS_CHROOT",
)  # fmt: skip
# linux/capability.h, all that 5.9 knows.
ALL_CAPABILITIES: Final = (
    *USUAL_CAPABILITIES,
    "CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_NET_ADMIN", "CAP_NET_BROADCAST", "CAP_PERFMON",
    "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_NICE",
    "CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG", "CAP_WAKE_ALARM",
)  # fmt: skip
_MASKED: Final = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecMount:
    """A mount: `source` is a path of the host for a bind, else the kind of file system."""

    target: str
    source: str
    type: str = "bind"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecDevice:
    """A device node. `kind` is c or b."""

    path: str
    kind: str
    major: int
    minor: int
    access: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecInput:
    """All that a specification says. `netns` empty: a network namespace with nothing in it."""

    args: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    hostname: str
    cgroup: str
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    netns: str = ""
    memory_mib: int = 0
    vcpus: float = 0
    pids: int = 0
    shm_mib: int = 64
    is_read_only: bool = False
    is_privileged: bool = False
    is_kata: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    mounts: tuple[SpecMount, ...] = ()
    devices: tuple[SpecDevice, ...] = ()
    rlimits: Sequence[tuple[str, int, int]] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    runtime_hook: Mapping[str, Any] | None = None  # `createRuntime`


def build_spec(given: SpecInput) -> dict[str, Any]:
    """Write the specification."""
    linux: dict[str, Any] = {
        "cgroupsPath": given.cgroup,
        "namespaces": _namespaces(given),
        "resources": build_resources(given.memory_mib, given.vcpus, given.pids)
        | {"devices": _device_rules(given)},
        "sysctl": {name.replace("/", "."): value for name, value in given.sysctls.items()},
        "devices": [
            {
                "path": device.path,
                "type": device.kind,
                "major": device.major,
                "minor": device.minor,
                "fileMode": 0o666,
                "uid": 0,
                "gid": 0,
            }
            for device in given.devices
        ],
    }
    if not given.is_privileged:
        linux |= {"maskedPaths": list(_MASKED), "readonlyPaths": list(_READ_ONLY)}
    hooks = {} if given.runtime_hook is None else {"createRuntime": [dict(given.runtime_hook)]}
    return {
        "ociVersion": "1.0.2",
        "process": _process(given),
        "root": {"path": "rootfs", "readonly": given.is_read_only},
        "hostname": given.hostname,
        "mounts": _mounts(given),
        "hooks": hooks,
        "annotations": dict(given.annotations),
        "linux": linux,
    }


def build_resources(memory_mib: int, vcpus: float, pids: int = 0) -> dict[str, Any]:
    """Write limits; 0 is none. Kata sizes its VM by them (docs/kata.md)."""
    found: dict[str, Any] = {}
    if memory_mib:
        found["memory"] = {"limit": memory_mib * MIB}
    if vcpus:
        found["cpu"] = {
            "quota": round(vcpus * CPU_PERIOD_US),
            "period": CPU_PERIOD_US,
            "shares": max(2, round(vcpus * 1024)),
        }
    if pids:
        found["pids"] = {"limit": pids}
    return found


def with_limits(spec: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification with other limits; what it limits besides stays."""
    linux: Mapping[str, Any] = spec.get("linux") or {}
    resources = {**(linux.get("resources") or {}), **limits}
    return {**spec, "linux": {**linux, "resources": resources}}


def capabilities_of(given: SpecInput) -> list[str]:
    """What the process may do: the usual ones, less those dropped, and those added."""
    if given.is_privileged:
        return sorted(ALL_CAPABILITIES)
    drop = {_capability(name) for name in given.drop_capabilities}
    add = {_capability(name) for name in given.add_capabilities}
    found = set() if "CAP_ALL" in drop else set(USUAL_CAPABILITIES) - drop
    return sorted(found | (set(ALL_CAPABILITIES) if "CAP_ALL" in add else add))


def _capability(name: str) -> str:
    return name if name.startswith("CAP_") else f"CAP_{name}"


def _process(given: SpecInput) -> dict[str, Any]:
    allowed = capabilities_of(given)
    # As in every process, capabilities of a user other than root are not in effect, and may not be
    # regained.
    own = allowed if given.uid == 0 else []
    return {
        "terminal": False,
        "user": {"uid": given.uid, "gid": given.gid, "additionalGids": list(given.groups)},
        "args": list(given.args),
        "env": [f"{name}={value}" for name, value in given.environment.items()],
        "cwd": given.directory,
        "capabilities": {
            "bounding": allowed,
            "effective": own,
            "permitted": own,
            "inheritable": [],
            "ambient": [],
        },
        "rlimits": [
            {"type": f"RLIMIT_{name.upper()}", "soft": _limit(soft), "hard": _limit(hard)}
            for name, soft, hard in given.rlimits
        ],
        "noNewPrivileges": False,  # sudo is what people have in a workspace
    }


def _limit(value: int) -> int:
    return (1 << 64) - 1 if value < 0 else value


def _namespaces(given: SpecInput) -> list[dict[str, str]]:
    network = {"type": "network"}
    if given.netns:
        network["path"] = given.netns
    return [*({"type": kind} for kind in ("pid", "ipc", "uts", "mount")), network]


def _device_rules(given: SpecInput) -> list[dict[str, Any]]:
    """What device nodes may be opened, besides the usual ones that a runtime adds."""
    if given.is_privileged:
        return [{"allow": True, "access": "rwm"}]
    return [
        {"allow": False, "access": "rwm"},
        *(
            {
                "allow": True,
                "type": device.kind,
                "major": device.major,
                "minor": device.minor,
                "access": device.access,
            }
            for device in given.devices
        ),
    ]


def _usual_mounts(given: SpecInput) -> list[SpecMount]:
    tmpfs = ("nosuid", "strictatime")
    sys_options = ("nosuid", "noexec", "nodev", "rw" if given.is_privileged else "ro")
    return [
        SpecMount(
            target="/proc", source="proc", type="proc", options=("nosuid", "noexec", "nodev")
        ),
        SpecMount(
            target="/dev", source="tmpfs", type="tmpfs", options=(*tmpfs, "mode=755", "size=65536k")
        ),
        SpecMount(
            target="/dev/pts",
            source="devpts",
            type="devpts",
            options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        SpecMount(
            target="/dev/shm",  # noqa: S108 - the place in the container
            source="shm",
            type="tmpfs",
            options=("nosuid", "noexec", "nodev", "mode=1777", f"size={given.shm_mib}m"),
        ),
        SpecMount(
            target="/dev/mqueue",
            source="mqueue",
            type="mqueue",
            options=("nosuid", "noexec", "nodev"),
        ),
        SpecMount(target="/sys", source="sysfs", type="sysfs", options=sys_options),
        SpecMount(target="/sys/fs/cgroup", source="cgroup", type="cgroup", options=sys_options),
        SpecMount(
            target="/run", source="tmpfs", type="tmpfs", options=(*tmpfs, "nodev", "mode=755")
        ),
    ]


def _mounts(given: SpecInput) -> list[dict[str, Any]]:
    targets = [replace(m, target=place_in_container(m.target)) for m in given.mounts]
    # A mount upon another one has to come behind it.
    own = sorted(targets, key=lambda mount: mount.target.count("/"))
    hidden = {mount.target for mount in own}
    usual = [mount for mount in _usual_mounts(given) if mount.target not in hidden]
    return [
        {
            "destination": mount.target,
            "type": mount.type,
            "source": mount.source,
            "options": list(mount.options),
        }
        for mount in (*usual, *own)
    ]
