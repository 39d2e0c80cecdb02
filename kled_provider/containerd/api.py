"""One containerd, with all of its services that Kled uses."""

from __future__ import annotations

from kled_provider.containerd.caller import ContainerdCaller
from kled_provider.containerd.containers import Containers
from kled_provider.containerd.content import Content
from kled_provider.containerd.daemon import Daemon
from kled_provider.containerd.events import Events
from kled_provider.containerd.images import ImageStore
from kled_provider.containerd.snapshots import Snapshots
from kled_provider.containerd.tasks import Tasks


class ContainerdApi:
    """The services, in the namespace and over the connection of `caller`."""

    def __init__(self, caller: ContainerdCaller, snapshotter: str) -> None:
        self.daemon = Daemon(caller)
        self.content = Content(caller)
        self.images = ImageStore(caller)
        self.snapshots = Snapshots(caller, snapshotter)
        self.containers = Containers(caller)
        self.tasks = Tasks(caller)
        self.events = Events(caller)
