"""The host of a build fits what the provider asks; neither room imports the other."""

from __future__ import annotations

import inspect

from kled_coord.builds.host import BuildHost
from kled_provider.host import Host


def test_it_has_the_methods_of_the_providers_host() -> None:
    wanted = {name: method for name, method in vars(Host).items() if not name.startswith("_")}
    assert wanted
    for name, method in wanted.items():
        assert inspect.signature(getattr(BuildHost, name)) == inspect.signature(method), name
