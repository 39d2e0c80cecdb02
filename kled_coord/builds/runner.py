"""What a worker asks of whatever carries a build out. The real one drives Terraform."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kled_coord.builds.host import BuildHost
from kled_coord.builds.job import Job, Reporter

# Raises InputError("template_invalid") with file, line and Terraform's words.
TemplateChecker = Callable[[bytes], Awaitable[None]]
# Returns when the build succeeded and raises KledError when it failed. Cancelled, it stops cleanly
# (shielded, bounded) before it lets the cancellation through.
BuildRunner = Callable[[Job, BuildHost, Reporter], Awaitable[None]]
