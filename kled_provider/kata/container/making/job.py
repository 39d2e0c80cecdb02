"""Turns what a template says of a container into the job that starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kled_provider.containerd.tasks import TaskIo
from kled_provider.containerd.types import AnyMessage, Mount
from kled_provider.grpc import protobuf
from kled_provider.kata.container.declared.block_rules import BUNDLE, SECRETS
from kled_provider.kata.container.declared.spec import SpecInput, SpecMount, build_spec
from kled_provider.kata.container.making import rootfs
from kled_provider.kata.container.making.checking import Runtime
from kled_provider.kata.container.making.directory import ContainerDirectory
from kled_provider.kata.container.making.hostfiles import device_nodes, pin_mounts, uploaded
from kled_provider.kata.container.making.joining import Joined
from kled_provider.kata.container.making.lifecycle import ContainerJob
from kled_provider.kata.container.making.program import FirstProcess, NoCommandError, first_process
from kled_provider.kata.image.storing import TakenImage
from kled_provider.kata.network.files import hosts
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.values import Values

# The type by which Kata's shim is given the path of a configuration (runtimeoptions.v1.Options).
_OPTIONS: Final = "runtimeoptions.v1.Options"
_OTHER_USERS: Final = frozenset({"CAP_SETGID", "CAP_SETUID"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a container stands on, beside what its template says."""

    owner: OwnerFile
    runtime: Runtime
    image: TakenImage
    rootfs: tuple[Mount, ...]  # the container's own file system, upon the image's layers
    directory: ContainerDirectory
    access_url: str
    joined: Joined
    labels: Mapping[str, str]


def make_job(container: str, values: Values, around: Surroundings) -> ContainerJob:
    """Write the files of the container and decide the rest; blocks.

    Raises DiagnosticError, OSError.
    """
    try:
        process = first_process(values, around.image.config, around.access_url)
    except NoCommandError as error:
        raise _error("There is nothing to run", f"{error}.", ("command",)) from error
    user = _user(process, around, values)
    spec = build_spec(_spec_input(container, values, around, process, user))
    _refuse_without_setuid(process, spec)
    path = around.runtime.configuration
    return ContainerJob(
        id=container,
        image=around.image.name,
        rootfs=around.rootfs,
        runtime=around.runtime.handler.runtime,
        options=AnyMessage(_OPTIONS, protobuf.text(2, path)) if path else None,
        spec=spec,
        labels=around.labels,
        io=TaskIo(stdout=around.joined.fifo, stderr=around.joined.fifo),
    )


def _spec_input(
    container: str,
    values: Values,
    around: Surroundings,
    process: FirstProcess,
    user: rootfs.ContainerUser,
) -> SpecInput:
    """What a template declares, with the mounts, whose files this writes."""
    environment = dict(process.environment)
    if user.home:
        environment.setdefault("HOME", user.home)
    capabilities: Values = values["capabilities"] or {}
    runtime: Values = values["runtime"] or {}
    return SpecInput(
        args=process.args,
        environment=environment,
        directory=process.directory,
        hostname=values["hostname"] or values["name"],
        cgroup=f"/{around.owner.containerd.namespace}/{container}",
        uid=user.uid,
        gid=user.gid,
        groups=user.groups,
        netns=around.joined.netns,
        runtime_hook=around.joined.hook,
        memory_mib=int(values["memory"]),
        vcpus=float(values["vcpus"]),
        pids=int(values["pids_limit"] or 0),
        shm_mib=int(values["shm_size"] or 64),
        is_read_only=bool(values["read_only"]),
        is_privileged=bool(values["privileged"]),
        is_kata=around.runtime.handler.is_kata,
        add_capabilities=tuple(capabilities.get("add") or ()),
        drop_capabilities=tuple(capabilities.get("drop") or ()),
        mounts=tuple(_mounts(process, values, around)),
        devices=tuple(device_nodes(values, around.owner)),
        rlimits=[
            (block["name"], int(block["soft"]), int(block["hard"])) for block in values["rlimit"]
        ],
        sysctls=values["sysctls"] or {},
        annotations=runtime.get("annotations") or {},
    )


def _refuse_without_setuid(process: FirstProcess, spec: Values) -> None:
    """What starts the agent and the command becomes their users itself (capabilities(7))."""
    missing = _OTHER_USERS - set(spec["process"]["capabilities"]["effective"])
    if process.changes_user and missing:
        raise _error(
            "A capability is needed to become the user",
            "What starts the agent, or a command with a sensitive environment, begins as root and "
            f"becomes their user: keep {' and '.join(sorted(missing))}, or leave `user` out.",
            ("capabilities", "drop"),
        )


def _user(process: FirstProcess, around: Surroundings, values: Values) -> rootfs.ContainerUser:
    layers = rootfs.layers_of(around.rootfs)
    passwd = rootfs.read_file(layers, "etc/passwd")
    try:
        return rootfs.resolve_user(process.user, passwd, rootfs.read_file(layers, "etc/group"))
    except rootfs.UserUnknownError as error:
        path: AttributePath = ("user",) if values["user"] else ("image",)
        raise _error("There is no such user", f"{error}.", path) from error


def _mounts(process: FirstProcess, values: Values, around: Surroundings) -> list[SpecMount]:
    found = [*_files(values, around), *_secrets(process, values, around), *around.joined.mounts]
    found += pin_mounts(values, around.owner, around.directory.path)
    return found + [_tmpfs(block) for block in values["tmpfs"]]


def _files(values: Values, around: Surroundings) -> list[SpecMount]:
    hostname = values["hostname"] or values["name"]
    texts = {
        "hostname": f"{hostname}\n",
        "hosts": hosts(
            hostname, around.joined.addresses, values["hosts"] or {}, around.joined.gateway
        ),
        "resolv.conf": around.joined.resolv_conf,
    }
    written = around.directory.write_etc(texts)
    found = [_bind(str(path), target) for target, path in written.items()]
    for index, block in enumerate(values["upload"]):
        data = uploaded(block, index, around.owner)
        path = around.directory.write_upload(index, data, int(block["mode"], 8))
        found.append(_bind(str(path), block["file"]))
    return found


def _secrets(process: FirstProcess, values: Values, around: Surroundings) -> list[SpecMount]:
    if not process.needs_bundle:
        return []
    architecture = around.image.config.platform.architecture
    bundle = around.owner.agent_bundles.get(architecture)
    if bundle is None or not Path(bundle, "bin/kled-init").is_file():
        where = f"{bundle} has no bin/kled-init" if bundle else "agent_bundles has none"
        raise _error(
            "The agent's bundle is missing",
            f"For {architecture} the owner's file says: {where}. Unpack what "
            "scripts/build-agent-bundle makes, and name its directory in [agent_bundles].",
            ("agent",) if values["agent"] is not None else ("env_sensitive",),
        )
    around.directory.write_secrets(process.secrets)
    return [
        _bind(bundle, BUNDLE, "ro", "nosuid", "nodev"),
        _bind(str(around.directory.secrets), SECRETS, "ro", "nosuid", "nodev", "noexec"),
    ]


def _bind(source: str, target: str, *options: str) -> SpecMount:
    return SpecMount(target=target, source=source, options=("rbind", *(options or ("rw",))))


def _tmpfs(block: Values) -> SpecMount:
    options = ["nosuid", "nodev", f"mode={block['mode']}"]
    if block["size"] is not None:
        options.append(f"size={int(block['size'])}m")
    return SpecMount(target=block["target"], source="tmpfs", type="tmpfs", options=tuple(options))


def _error(summary: str, detail: str, path: AttributePath) -> DiagnosticError:
    return DiagnosticError(Diagnostic(summary=summary, detail=detail, path=path))
