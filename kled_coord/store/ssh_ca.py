"""Queries: the SSH certificate authority's key."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from kled_coord.store.schema import ssh_ca


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAuthority:
    """The authority's key pair; the private half is sealed for purpose "ssh_ca" and this id."""

    id: str
    public_key: str
    private_key_sealed: bytes
    created_at: datetime


def current_or_added_authority(connection: Connection, new: SealedAuthority) -> SealedAuthority:
    """The newest authority; `new` is added when there is none."""
    row = connection.execute(select(ssh_ca).order_by(ssh_ca.c.created_at.desc())).first()
    if row is not None:
        return SealedAuthority(**row._asdict())
    connection.execute(insert(ssh_ca).values(**asdict(new)))
    return new
