"""What tests of the API ask first, and what they look at in an answer."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PUBLIC_KEY = (
    Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    .decode()
)


def code(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def workspace(api, make_tar, name: str = "alice"):
    """Push a template, log in, create the workspace dev; gives headers and the workspace."""
    admin = await api.login("boss", "admin")
    answer = await api.client.post(
        "/api/v1/templates/plain/versions?message=first",
        content=make_tar({"main.tf": b"x"}, mode="w:gz"),
        headers={**admin, "Content-Type": "application/x-tar"},
    )
    assert (answer.status_code, answer.json()["number"]) == (201, 1)
    me = await api.login(name)
    answer = await api.client.post(
        "/api/v1/workspaces", json={"name": "dev", "template": "plain"}, headers=me
    )
    assert answer.status_code == 201, answer.text
    return me, answer.json()
