"""What a runtime refuses is told at the attribute that is to blame."""

from __future__ import annotations

from typing import Any

import pytest

from kled_provider.containerd.caller import ContainerdError
from kled_provider.kata.container.refusals import blamed, explained
from kled_provider.plugin.diagnostics import DiagnosticError

NOTHING: dict[str, Any] = dict.fromkeys(
    ("command", "args", "runtime", "workdir", "sysctls", "rlimit", "user"), None
) | {"image": "i", "volume": [], "mount": [], "tmpfs": [], "upload": [], "device": []}
RUNC = "containerd: failed to create shim task: OCI runtime create failed: runc create failed: "


@pytest.mark.parametrize(
    ("text", "values", "path"),
    [
        (
            'exec: "nope": executable file not found in $PATH: unknown',
            {"command": ["x"]},
            ("command",),
        ),
        ('exec: "nope": executable file not found in $PATH: unknown', {}, ("image",)),
        ('exec: "/x": stat /x: no such file or directory', {"command": ["/x"]}, ("command",)),
        ("exec /x: exec format error: unknown", {"command": ["/x"]}, ("command",)),
        (
            "createRuntime hook: volume home is in use by container ws-1",
            {"volume": [{}]},
            ("volume", 0, "volume"),
        ),
        ("volume home is in use by container ws-1", {"volume": [{}, {}]}, ("volume",)),
        ('mkdir "/a/b": cwd: not a directory', {"workdir": "/a/b"}, ("workdir",)),
        ("container init: mkdir /etc/passwd: not a", {"workdir": "/etc/passwd"}, ("workdir",)),
        ("open /proc/sys/net/ipv4/nope: no such file: unknown", {"sysctls": {}}, ()),
        ("write /proc/sys/net/ipv4/x: invalid", {"sysctls": {"net.ipv4.x": "z"}}, ("sysctls",)),
        ("uids and gids must be in range 0-2147483647", {"user": "3000000000"}, ("user",)),
        (
            'error mounting "/s" to rootfs at "/etc": not a directory: unknown',
            {"upload": [{"file": "/x"}, {"file": "//etc/"}]},
            ("upload", 1, "file"),
        ),
        (
            'error mounting "x" to rootfs at "/dev/shm": unknown',
            {"tmpfs": [{"target": "/d"}], "device": [{"target": None}]},
            (),
        ),
        ("write /snapshots/1: no space left on device", {}, ("image",)),
        (
            'runtime "io.containerd.kata.v2" binary not installed "containerd-shim-kata-v2"',
            {"runtime": {"handler": "kata", "config": None}},
            ("runtime", "handler"),
        ),
        (
            "load configuration: unknown field `perod`",
            {"runtime": {"handler": "kata", "config": "/c"}},
            ("runtime", "config"),
        ),
        ("sysctl net.x: no such file or directory: unknown", {"sysctls": {"a": 1}}, ("sysctls",)),
        ("mounting /a to /b: no such file: unknown", {"mount": [{}]}, ("mount",)),
        (
            "error setting rlimits for ready process: error setting rlimit type 7: not permitted",
            {"rlimit": [{"name": "core"}, {"name": "nofile"}]},
            ("rlimit", 1, "hard"),
        ),
        (
            "error closing exec fds: open /proc/self/fd: too many open files: unknown",
            {"rlimit": [{"name": "nofile"}]},
            ("rlimit", 0, "hard"),
        ),
        ("open /x: too many open files", {}, ()),
        ("error setting rlimit type 99: x", {"rlimit": [{"name": "nofile"}]}, ("rlimit",)),
        ("unable to set memory limit to 6 (current usage: 9)", {"memory": 64}, ("memory",)),
        ("failed to write to cpu.cfs_quota_us: invalid", {"vcpus": 1}, ("vcpus",)),
        ("something else", {}, ()),
    ],
)  # fmt: skip
def test_each_refusal_has_its_attribute(
    text: str, values: dict[str, Any], path: tuple[str, ...]
) -> None:
    assert blamed(RUNC + text, {**NOTHING, **values})[1] == path


def test_a_containerd_that_is_not_there_is_no_attributes_fault() -> None:
    with pytest.raises(ContainerdError), explained(NOTHING):
        raise ContainerdError(14, "There is no containerd", hint="Start it.")
    with pytest.raises(DiagnosticError) as caught, explained(NOTHING):
        raise ContainerdError(2, "no space left on device")
    assert caught.value.diagnostics[0].path == ("image",)
