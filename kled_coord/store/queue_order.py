"""The order of the queue, as a query: fair between users.

The rank of a build is the number of its user's running builds and of those queued before it; the
lowest rank is next, and among equal ranks the oldest build. So the second build of a user who
queues fifty waits behind the first of every other user, and no build waits for ever.
"""

from __future__ import annotations

from sqlalchemy import func, select

from kled_coord.store.schema import builds

RUNNING = builds.c.status.in_(("running", "canceling"))
WAITING = builds.c.status == "pending"

_theirs = (
    select(builds.c.created_by, func.count().label("running"))
    .where(RUNNING)
    .group_by(builds.c.created_by)
    .subquery()
)
_shares = (
    select(
        builds.c.id,
        builds.c.queued_at,
        (
            func.row_number().over(
                partition_by=builds.c.created_by, order_by=(builds.c.queued_at, builds.c.id)
            )
            + func.coalesce(_theirs.c.running, 0)
        ).label("turn"),
    )
    .select_from(builds.outerjoin(_theirs, _theirs.c.created_by == builds.c.created_by))
    .where(WAITING)
    .subquery()
)
# Every waiting build's id, and its `position` in the queue from 1.
places = select(
    _shares.c.id,
    func.row_number()
    .over(order_by=(_shares.c.turn, _shares.c.queued_at, _shares.c.id))
    .label("position"),
).subquery()
