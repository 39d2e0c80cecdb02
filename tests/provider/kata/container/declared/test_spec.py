"""The OCI specification of a container."""

from __future__ import annotations

from kled_provider.kata.container.declared.spec import SpecInput, SpecMount, build_spec


def test_a_mount_upon_another_comes_behind_it_however_they_are_written() -> None:
    mounts = tuple(
        SpecMount(target=t, source="/s") for t in ("/run//", "/a/b/c", "//a///", "/a/b/")
    )
    given = SpecInput(
        args=("x",), environment={}, directory="/", hostname="h", cgroup="/c", mounts=mounts
    )
    found = [mount["destination"] for mount in build_spec(given)["mounts"]]
    assert found.count("/run") == 1, "it is instead of the usual one"
    assert [target for target in found if target.startswith("/a")] == ["/a", "/a/b", "/a/b/c"]
