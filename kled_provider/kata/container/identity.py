"""What a container is called on its machine, and the labels by which it is found again.

Several workspaces share a machine, and their containers may share names: the id holds the
workspace, so one can never adopt or delete what is another's.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from kled_provider.containerd.containers import ContainerRecord
from kled_provider.kata.container.declared.schema import NAME
from kled_provider.plugin.values import Values

WORKSPACE_LABEL: Final = "kled.dev/workspace"
NAME_LABEL: Final = "kled.dev/name"
GENERATION_LABEL: Final = "kled.dev/generation"
FINGERPRINT_LABEL: Final = "kled.dev/fingerprint"
ADDRESSES_LABEL: Final = "kled.dev/addresses"
AGENT_LABEL: Final = "kled.dev/agent"
STOP_LABEL: Final = "kled.dev/stop-signal"  # the image's own
# The label that containerd's restart monitor reads (runtime/restart/restart.go).
RESTART_LABEL: Final = "containerd.io/restart.status"
POLICY_LABEL: Final = "containerd.io/restart.policy"
LOG_LABEL: Final = "containerd.io/restart.loguri"
_DIGEST_CHARACTERS: Final = 12
_MARK: Final = re.compile(r"[0-9a-f]{1,16}")
# A shim's socket lies below a directory of the id, and such a path has 107 bytes at most.
_NAME_CHARACTERS: Final = 32
# The attributes that may change while the container stays.
_CHANGEABLE: Final = ("labels", "restart", "must_run", "stop_signal", "stop_timeout", "timeouts")


def id_prefix(workspace: str, name: str) -> str:
    """Return what the ids of a workspace's containers of that name begin with."""
    digest = hashlib.sha256(f"{workspace}\0{name}".encode()).hexdigest()
    return f"{name[:_NAME_CHARACTERS].rstrip('-')}-{digest[:_DIGEST_CHARACTERS]}-"


def container_id(workspace: str, name: str, mark: str) -> str:
    """Return the id of one of them. No two have the same `mark`: see finding.py."""
    return f"{id_prefix(workspace, name)}{mark}"


def is_name(text: str) -> bool:
    """Whether a container can be called so."""
    return re.fullmatch(NAME, text) is not None


def is_own_id(container: str, workspace: str, name: str) -> bool:
    """Whether an id is of one of the workspace's containers of that name.

    A state may say anything: programs that a template brings reach the provider as Terraform does.
    """
    prefix = id_prefix(workspace, name)
    is_begun = is_name(name) and container.startswith(prefix)
    return is_begun and _MARK.fullmatch(container.removeprefix(prefix)) is not None


def fingerprint(values: Values, settable: Mapping[str, Any]) -> str:
    """Return a digest of what a container is made of; `settable` are the names that count."""
    counted = {name: values[name] for name in sorted(settable) if name not in _CHANGEABLE}
    return hashlib.sha256(json.dumps(counted, sort_keys=True, default=str).encode()).hexdigest()


def own_labels(values: Values, *, workspace: str, generation: str, digest: str) -> dict[str, str]:
    """Return the labels that a container has besides a template's."""
    labels = {
        WORKSPACE_LABEL: workspace,
        NAME_LABEL: values["name"],
        GENERATION_LABEL: generation,
        FINGERPRINT_LABEL: digest,
    }
    if values["agent"] is not None:
        labels[AGENT_LABEL] = values["agent"]["id"]
    if values["restart"] != "no":
        labels[RESTART_LABEL] = "running"
        if values["restart"] != "always":
            labels[POLICY_LABEL] = values["restart"]
    return labels


def all_labels(values: Values, own: Mapping[str, str]) -> dict[str, str]:
    """Return every label: a template's never hides one of ours."""
    given = {name: text for name, text in (values["labels"] or {}).items() if text is not None}
    return {**given, **own}


def template_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return those labels that a template has given. containerd keeps none that are empty."""
    return {
        name: text
        for name, text in labels.items()
        if text and not name.startswith(("kled.dev/", "containerd.io/", "io.containerd."))
    }


def is_alike(record: ContainerRecord, labels: Mapping[str, str]) -> bool:
    """Whether a container is made of what `labels` are of."""
    return record.labels.get(FINGERPRINT_LABEL, "") == labels[FINGERPRINT_LABEL]


def is_kept_running(record: ContainerRecord) -> bool:
    """Whether containerd starts it again when it ends."""
    return record.labels.get(RESTART_LABEL) == "running"
