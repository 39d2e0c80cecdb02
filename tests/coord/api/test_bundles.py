"""Bundles on a connection that is the API's already, as a reverse proxy keeps them."""

from __future__ import annotations

from tests.coord.bundles.little import launcher, write_bundle
from tests.coord.conftest import Api


async def test_a_bundle_comes_on_a_connection_that_has_had_other_requests(
    api: Api, tmp_path
) -> None:
    large = launcher("amd64") + bytes(300_000)
    added = api.world.services.bundles.add(
        write_bundle(tmp_path / "b", "amd64", **{"bin/kled-agent": large})
    )
    assert (await api.client.get("/healthz")).status_code == 200
    answer = await api.client.get(f"/bin/{added.digest}")
    assert answer.status_code == 200
    assert answer.content == added.path.read_bytes()
    assert "immutable" in answer.headers["cache-control"]
    script = (await api.client.get("/bin/agent.sh")).text
    assert added.digest in script
    missing = await api.client.get("/bin/" + "b" * 64)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "bundle_unknown")
    assert (await api.client.post("/bin/x")).status_code == 405
