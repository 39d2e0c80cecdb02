"""The key of the certificate authority: ed25519, sealed in the database, made once by `init`."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kled_coord.sources import Clock, Ids, RandomBytes
from kled_coord.store.engine import Store
from kled_coord.store.sealing import Sealer
from kled_coord.store.ssh_ca import SealedAuthority, current_or_added_authority

_PURPOSE: Final = "ssh_ca"
_SEED_BYTES: Final = 32


async def load_authority_key(
    *, store: Store, sealer: Sealer, clock: Clock, ids: Ids, random_bytes: RandomBytes
) -> Ed25519PrivateKey:
    """The authority's key, made now if there is none yet. Raises StoreError, KledError."""
    new_id = ids.new("ca")
    seed = random_bytes(_SEED_BYTES)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    authority = await store.write(
        current_or_added_authority,
        SealedAuthority(
            id=new_id,
            public_key=public_line(key),
            private_key_sealed=sealer.seal(_PURPOSE, new_id, seed),
            created_at=clock(),
        ),
    )
    if authority.id == new_id:
        return key
    raw = sealer.open(_PURPOSE, authority.id, authority.private_key_sealed)
    return Ed25519PrivateKey.from_private_bytes(raw)


def public_line(key: Ed25519PrivateKey) -> str:
    """The public half as OpenSSH writes it: `ssh-ed25519 AAAA…`."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
