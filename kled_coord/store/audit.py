"""Queries: the audit log, append only."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, insert, select

from kled_coord.store.records import AuditRow
from kled_coord.store.schema import audit


def insert_audit(connection: Connection, row: AuditRow) -> None:
    """Append a row."""
    connection.execute(insert(audit).values(**asdict(row)))


def list_audit(connection: Connection, limit: int) -> list[AuditRow]:
    """The newest `limit` rows, the newest first."""
    rows = connection.execute(select(audit).order_by(audit.c.at.desc(), audit.c.id).limit(limit))
    return [AuditRow(**row._asdict()) for row in rows]
