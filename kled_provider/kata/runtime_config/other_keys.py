"""The keys of `[agent.kata]`, its mem_agent, `[runtime]`, and the tables within a hypervisor."""

from __future__ import annotations

from collections.abc import Mapping

from kled_provider.kata.runtime_config.hypervisor_keys import HYPERVISOR_KEYS
from kled_provider.kata.runtime_config.keys import (
    I64,
    LOG_LEVELS,
    U64,
    Key,
    Risk,
    host_file,
    host_text,
    number,
    strings,
    switch,
    text,
)

_PORT = 65535

FACTORY_KEYS: tuple[Key, ...] = (
    switch("enable_template", "Start VMs from a template VM; qemu needs an initrd for it."),
    host_text("template_path", "Directory of the template."),
    host_text("memory_path", "File of the template's memory."),
    host_text("device_state_path", "File of the state of its devices."),
    switch("boot_to_be_template", "Boot a VM that becomes the template."),
    switch("boot_from_template", "Boot a VM from the template."),
)

EXTENSION_IMAGE_KEYS: tuple[Key, ...] = (
    text("name", "Name of the image within the guest."),
    host_file("path", "The image, attached read-only."),
    text("verity_params", "root_hash=, salt= and so on of the image."),
)

AGENT_KEYS: tuple[Key, ...] = (
    switch("enable_debug", "Log more."),
    text("log_level", "Level of the log.", *LOG_LEVELS),
    switch("enable_tracing", "Make OpenTelemetry traces."),
    switch("debug_console_enabled", "Serve a shell of the guest (vsock port 1026)."),
    number("server_port", "Port of the agent.", 1, most=_PORT),
    number("log_port", "Port of its log.", 1, most=_PORT),
    number("passfd_listener_port", "Port of passed streams.", 1, most=_PORT),
    number("dial_timeout_ms", "Wait between two attempts to connect.", unit="ms"),
    number("reconnect_timeout_ms", "Time for all attempts to connect.", 1, unit="ms"),
    number("cdh_api_timeout_ms", "Time of a request to the data hub.", unit="ms"),
    number("create_container_timeout", "Time to create a container.", 1, unit="seconds"),
    number("health_check_request_timeout_ms", "Time of a health check.", unit="ms"),
    strings("kernel_modules", "Kernel modules to load in the guest, with their parameters."),
    number("container_pipe_size", "Size of a container's pipes; 0: the kernel's.", unit="bytes"),
    number("launch_process_timeout", "Time to start a process; 0: none.", unit="seconds"),
    strings("visible_cdi_devices", "CDI devices that every container sees."),
    text("policy", "Policy of the agent's requests, in Rego."),
)

MEM_AGENT_KEYS: tuple[Key, ...] = (
    switch("enable", "Run the mem-agent in the guest."),
    switch("memcg_disable", "Neither age nor evict pages."),
    switch("memcg_swap", "Evict anonymous pages too."),
    number("memcg_swappiness_max", "Most swappiness.", 0, 200),
    number("memcg_period_secs", "Time between two runs.", 1, U64, "seconds"),
    number("memcg_period_psi_percent_limit", "Stall above which a cgroup is left alone.", 0, 100),
    number("memcg_eviction_psi_percent_limit", "Stall above which its eviction ends.", 0, 100),
    number("memcg_eviction_run_aging_count_min", "Agings before the first eviction.", 0, U64),
    switch("compact_disable", "Do not compact memory."),
    number("compact_period_secs", "Time between two looks.", 1, U64, "seconds"),
    number("compact_period_psi_percent_limit", "Stall above which nothing is compacted.", 0, 100),
    number("compact_psi_percent_limit", "Stall above which a compaction ends.", 0, 100),
    number("compact_sec_max", "Most time of a compaction.", 0, I64, "seconds"),
    number("compact_order", "Free pages below this order count as fragmented.", 0, 10),
    number("compact_threshold", "Pages by which fragmentation has to grow.", 0, U64, "pages"),
    number("compact_force_times", "Looks after which it compacts anyhow; 0: each.", 0, I64),
)

RUNTIME_KEYS: tuple[Key, ...] = (
    text(
        "internetworking_model",
        "How the VM is connected to its network namespace.",
        *("macvtap", "none", "tcfilter", "l3forwarding"),
    ),
    switch("disable_new_netns", "Stay in the host's network namespace; only with model none."),
    switch("sandbox_cgroup_only", "Put all processes of a VM into one cgroup."),
    switch("static_sandbox_resource_mgmt", "Fix the VM's size at its start."),
    strings(
        "sandbox_bind_mounts",
        "Directories of the host, PATH[:ro|:rw], to share with every guest.",
        risk=Risk.HOST,
    ),
    text(
        "emptydir_mode",
        "What an emptyDir becomes.",
        *("shared-fs", "block-plain", "block-encrypted"),
    ),
    switch("disable_guest_seccomp", "Apply no seccomp profile within the guest."),
    switch("enable_vcpus_pinning", "Pin each vCPU to a CPU of the host."),
    text("vfio_mode", "How passed devices look.", "guest-kernel", "vfio"),
    strings("experimental", "Experimental features, such as force_guest_pull."),
    switch("enable_debug", "Log more."),
    text("log_level", "Level of the log.", *LOG_LEVELS),
    switch("enable_tracing", "Make OpenTelemetry traces."),
    host_text("jaeger_endpoint", "URL of the collector of traces."),
    host_text("jaeger_user", "User of the collector."),
    host_text("jaeger_password", "Password of the collector."),
    switch("enable_pprof", "Serve profiles of the shim."),
    switch("keep_abnormal", "Keep what is left of a VM that failed."),
    host_text("dan_conf", "Directory of networks that are attached directly."),
    switch("use_passfd_io", "Pass streams by descriptor."),
    number("passfd_listener_port", "Port of passed streams.", 1, most=_PORT),
    host_text("pod_resource_api_sock", "Socket of Kubernetes' PodResources."),
)

SHARED_MOUNT_KEYS: tuple[Key, ...] = (
    text("name", "Name of the mount."),
    text("src_ctr", "Container that it comes from."),
    text("src_path", "Path there."),
    text("dst_ctr", "Container that gets it."),
    text("dst_path", "Path there."),
)

# By the dotted name of a template's block: the keys that it may have.
TABLES: Mapping[str, tuple[Key, ...]] = {
    "hypervisor": HYPERVISOR_KEYS,
    "hypervisor.factory": FACTORY_KEYS,
    "hypervisor.guest_extension_images": EXTENSION_IMAGE_KEYS,
    "agent": AGENT_KEYS,
    "agent.mem_agent": MEM_AGENT_KEYS,
    "runtime": RUNTIME_KEYS,
    "runtime.shared_mounts": SHARED_MOUNT_KEYS,
}
# The blocks that may occur several times.
REPEATED = frozenset({"hypervisor.guest_extension_images", "runtime.shared_mounts"})


def dangerous_keys(table: str) -> frozenset[str]:
    """Return the keys of a table that take only values from the owner's file."""
    return frozenset(key.name for key in TABLES[table] if key.is_dangerous)
