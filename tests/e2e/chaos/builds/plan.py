"""What happens to builds and to all that they need; a plan is made of it as for sessions."""

from __future__ import annotations

from tests.e2e.chaos.plan import make_kind

# Builds must come further in between: on PostgreSQL a dead worker is noticed by its lease alone,
# which nobody sees run out who does not live as long himself. Seconds.
_REST_S, _REST_COORDINATOR_S = 8.0, 35.0

KINDS = {
    # The workers are in the coordinator's process and die with it.
    "kill-terraform": make_kind("terraform"),
    "kill-coordinator": make_kind("coordinator", 0, 4, rest_s=_REST_COORDINATOR_S),
    "restart-coordinator": make_kind("coordinator", 0, 3, rest_s=_REST_COORDINATOR_S),
    "stop-coordinator-at-once": make_kind("coordinator", 0, 2, rest_s=_REST_COORDINATOR_S),
    "freeze-coordinator": make_kind("coordinator", 1, 40, rest_s=_REST_COORDINATOR_S),
    "database-away": make_kind("database", 3, 25, rest_s=_REST_S),
    "disk-full": make_kind("database", 2, 20, rest_s=_REST_S),
    "cancel": make_kind("cancel"),
    "cancel-by-force": make_kind("cancel"),
}
# What takes longer than a short run has.
SLOW = frozenset({"freeze-coordinator"})
