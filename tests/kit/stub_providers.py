"""Stand-ins for providers that no test can fetch: kreuzwerker/docker and hashicorp/kubernetes.

They have the blocks and attributes that templates use, and make nothing.
"""

from __future__ import annotations

from kled_provider.kled.record import EchoData, RecordResource
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    Nesting,
    Schema,
    Type,
    list_of,
    map_of,
    set_of,
)

_TYPES: dict[str, Type] = {
    "s": "string",
    "n": NUMBER,
    "b": BOOL,
    "l": list_of("string"),
    "S": set_of("string"),
    "m": map_of("string"),
}


def attributes(text: str) -> tuple[Attribute, ...]:
    """Read `name:type`, several separated by spaces; a `!` before a name makes it required."""
    found = []
    for word in text.split():
        name, _, kind = word.partition(":")
        required = name.startswith("!")
        found.append(
            Attribute(
                name=name.removeprefix("!"),
                type=_TYPES[kind or "s"],
                required=required,
                optional=not required,
            )
        )
    return tuple(found)


def several(name: str, text: str = "", *blocks: Block) -> Block:
    """Make a block that may stand often."""
    return Block(name=name, attributes=attributes(text), blocks=blocks)


def once(name: str, text: str = "", *blocks: Block) -> Block:
    """Make a block that stands at most once."""
    return Block(name=name, attributes=attributes(text), blocks=blocks, max_items=1)


def a_set(name: str, text: str, *blocks: Block) -> Block:
    """Make a block of which there is a set."""
    return Block(name=name, attributes=attributes(text), blocks=blocks, nesting=Nesting.SET)


def _resource(name: str, text: str, *blocks: Block, computed: str = "") -> RecordResource:
    own = tuple(Attribute(name=each, computed=True) for each in ("id", *computed.split()))
    return RecordResource(name, Schema(attributes=attributes(text) + own, blocks=blocks))


def docker_provider() -> Provider:
    """Make kreuzwerker/docker's stand-in."""
    labels = a_set("labels", "!label !value")
    container = _resource(
        "docker_container",
        "!name !image command:l entrypoint:l env:S hostname user working_dir cpu_shares:n cpu_set "
        "cpus memory:n memory_swap:n shm_size:n network_mode runtime restart max_retry_count:n "
        "start:b must_run:b wait:b rm:b privileged:b read_only:b tty:b init:b dns:l sysctls:m "
        "tmpfs:m log_driver log_opts:m stop_signal stop_timeout:n destroy_grace_seconds:n gpus "
        "ipc_mode storage_opts:m group_add:S",
        a_set("host", "!host !ip"),
        labels,
        a_set("volumes", "container_path volume_name host_path read_only:b"),
        a_set("mounts", "!target !type source read_only:b"),
        several("ports", "!internal:n external:n ip protocol"),
        a_set("networks_advanced", "!name aliases:S ipv4_address"),
        a_set("capabilities", "add:S drop:S"),
        a_set("devices", "!host_path container_path permissions"),
        a_set("upload", "!file content executable:b"),
        once("healthcheck", "!test:l interval timeout retries:n"),
    )
    build = Block(
        name="build",
        nesting=Nesting.SET,
        max_items=1,
        attributes=attributes("!context dockerfile build_args:m tag:l no_cache:b remove:b"),
    )
    image = _resource(
        "docker_image",
        "!name keep_locally:b triggers:m pull_triggers:S force_remove:b platform",
        build,
        computed="image_id",
    )
    return Provider(
        name="docker",
        schema=Schema(
            attributes=attributes("host ssh_opts:l"),
            blocks=(several("registry_auth", "!address username password"),),
        ),
        resources=(
            container,
            image,
            _resource("docker_volume", "name driver driver_opts:m", labels, computed="mountpoint"),
            _resource("docker_network", "!name driver internal:b", labels),
        ),
        data_sources=(
            EchoData(
                "docker_registry_image",
                Schema(
                    attributes=(
                        *attributes("!name"),
                        Attribute(name="sha256_digest", computed=True),
                    )
                ),
                {"sha256_digest": "sha256:0"},
            ),
        ),
    )


_METADATA = once("metadata", "name namespace labels:m annotations:m generate_name")
_RESOURCES = once("resources", "requests:m limits:m")
_CONTAINER = several(
    "container",
    "!name image image_pull_policy command:l args:l working_dir",
    several("env", "!name value", once("value_from", "", once("secret_key_ref", "name key"))),
    once("security_context", "run_as_user privileged:b allow_privilege_escalation:b"),
    _RESOURCES,
    several("volume_mount", "!mount_path !name read_only:b sub_path"),
)
_TERM = once(
    "pod_affinity_term",
    "topology_key",
    several("label_selector", "", several("match_expressions", "key operator values:S")),
)
_POD = once(
    "spec",
    "service_account_name hostname node_selector:m restart_policy",
    once("security_context", "run_as_user fs_group run_as_non_root:b"),
    _CONTAINER,
    several(
        "volume",
        "name",
        once("persistent_volume_claim", "claim_name read_only:b"),
        once("empty_dir", "medium size_limit"),
    ),
    several("toleration", "key operator value effect"),
    once(
        "affinity",
        "",
        once(
            "pod_anti_affinity",
            "",
            several("preferred_during_scheduling_ignored_during_execution", "!weight:n", _TERM),
        ),
    ),
)
_DEPLOYMENT = once(
    "spec",
    "replicas",
    once("selector", "match_labels:m"),
    once("strategy", "type"),
    once("template", "", _METADATA, _POD),
)
_CLAIM = once("spec", "access_modes:S storage_class_name", _RESOURCES)


def kubernetes_provider() -> Provider:
    """Make hashicorp/kubernetes' stand-in."""
    resources = [
        _resource("kubernetes_secret", "type data:m", _METADATA),
        _resource("kubernetes_namespace", "", _METADATA),
    ]
    for suffix in ("", "_v1"):
        claim = f"kubernetes_persistent_volume_claim{suffix}"
        resources += [
            _resource(
                f"kubernetes_deployment{suffix}", "wait_for_rollout:b", _METADATA, _DEPLOYMENT
            ),
            _resource(f"kubernetes_pod{suffix}", "", _METADATA, _POD),
            _resource(claim, "wait_until_bound:b", _METADATA, _CLAIM),
        ]
    config = attributes("config_path host insecure:b cluster_ca_certificate token")
    return Provider(name="kubernetes", schema=Schema(attributes=config), resources=tuple(resources))
