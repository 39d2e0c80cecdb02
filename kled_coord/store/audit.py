"""Queries: the audit log, append only."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, insert, select

from kled_coord.store.filters import AuditFilter
from kled_coord.store.records import AuditRow
from kled_coord.store.schema import audit


def insert_audit(connection: Connection, row: AuditRow) -> None:
    """Append a row."""
    connection.execute(insert(audit).values(**asdict(row)))


def find_audit(connection: Connection, wanted: AuditFilter, limit: int) -> list[AuditRow]:
    """The newest `limit` rows that fit, the newest first."""
    query = select(audit).order_by(audit.c.at.desc(), audit.c.id).limit(limit)
    if wanted.user is not None:
        query = query.where(audit.c.user_name == wanted.user)
    if wanted.action is not None:
        query = query.where(audit.c.action.startswith(wanted.action, autoescape=True))
    if wanted.resource is not None:
        query = query.where(audit.c.resource.contains(wanted.resource, autoescape=True))
    if wanted.allowed is not None:
        query = query.where(audit.c.allowed.is_(wanted.allowed))
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.at < wanted.until)
    return [AuditRow(**row._asdict()) for row in connection.execute(query)]
