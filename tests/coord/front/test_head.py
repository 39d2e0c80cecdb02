"""Where a request goes, decided from its head alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_coord.front.head import Carrier, Plane, Route, StreamTarget, bearer, decide_route
from kled_wire.errors import InputError, KledError, ProtocolError, UpgradeRequiredError
from kled_wire.http.heads import Headers
from kled_wire.http.upgrade import RequestHead
from kled_wire.names import WorkspaceRef

STREAM = "/api/v1/workspaces/dev/stream"


def _head(
    target: str,
    upgrade: str | None = None,
    method: str = "GET",
    version: str = "HTTP/1.1",
    **more: str,
) -> RequestHead:
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if upgrade:
        headers |= {"connection": "Upgrade", "upgrade": upgrade}
    return RequestHead(method=method, target=target, version=version, headers=Headers(headers))


@pytest.mark.parametrize(
    ("target", "upgrade", "plane", "carrier"),
    [
        ("/api/v1/agent/control", "websocket", Plane.CONTROL, Carrier.WEBSOCKET),
        ("/api/v1/agent/stream", "kled-stream", Plane.AGENT_STREAM, Carrier.RAW),
        ("/api/v1/agent/stream?x=1", "websocket", Plane.AGENT_STREAM, Carrier.WEBSOCKET),
        (STREAM, "kled-stream", Plane.CLIENT_STREAM, Carrier.RAW),
        (STREAM, "websocket", Plane.CLIENT_STREAM, Carrier.WEBSOCKET),
    ],
)
def test_an_upgrade_goes_to_its_plane(
    target: str, upgrade: str, plane: Plane, carrier: Carrier
) -> None:
    route = decide_route(_head(target, upgrade))
    assert (route.plane, route.carrier) == (plane, carrier)
    assert (route.target is not None) == (plane is Plane.CLIENT_STREAM)


def test_what_machines_fetch_is_no_upgrade() -> None:
    for head in (_head("/bin/agent.sh"), _head(f"/bin/{'a' * 64}", method="HEAD")):
        assert decide_route(head) == Route(plane=Plane.BUNDLES)
    for head in (_head("/bin/x", method="POST"), _head("/bin/x", content_length="1")):
        assert decide_route(head) == Route(plane=Plane.API)


@pytest.mark.parametrize(
    "target",
    ["/", "/bin", "/binary", "/api/v1/workspaces", "/api/v1/workspaces/dev", "/api/v1/agent/enroll",
     "/api/v1/agent/control/", "/api/v1/agent/controls", "//api/v1/agent/control",
     "/API/v1/agent/stream", "/x/api/v1/workspaces/dev/stream"],
)  # fmt: skip
def test_everything_else_is_the_apis(target: str) -> None:
    for head in (_head(target), _head(target, "websocket"), _head(target, method="POST")):
        assert decide_route(head) == Route(plane=Plane.API)


@pytest.mark.parametrize(
    ("target", "upgrade"),
    [
        ("/api/v1/agent/control", None),
        ("/api/v1/agent/control", "kled-stream"),
        ("/api/v1/agent/stream", "h2c"),
        (STREAM, None),
    ],
)
def test_a_stream_path_without_its_upgrade_says_which(target: str, upgrade: str | None) -> None:
    with pytest.raises(UpgradeRequiredError, match="requires Upgrade"):
        decide_route(_head(target, upgrade))


def test_there_are_no_upgrades_in_http_1_0() -> None:
    with pytest.raises(UpgradeRequiredError, match="requires Upgrade"):
        decide_route(_head(STREAM, "kled-stream", version="HTTP/1.0"))


@pytest.mark.parametrize(
    "head",
    [
        _head(STREAM, "kled-stream", method="POST"),
        _head(STREAM, "kled-stream", method="HEAD"),
        _head(STREAM, "kled-stream", content_length="1"),
        _head("/api/v1/agent/control", "websocket", transfer_encoding="chunked"),
    ],
)
def test_an_upgrade_with_a_body_is_refused(head: RequestHead) -> None:
    with pytest.raises(ProtocolError) as caught:
        decide_route(head)
    assert caught.value.code == "upgrade_with_body"


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        (STREAM, StreamTarget(ref=WorkspaceRef(name="dev"), kind="ssh")),
        (STREAM + "?kind=ssh&port=7", StreamTarget(ref=WorkspaceRef(name="dev"), kind="ssh")),
        ("/api/v1/workspaces/dev.alice/stream",
         StreamTarget(ref=WorkspaceRef(name="dev", owner="alice"), kind="ssh")),
        ("/api/v1/workspaces/alice%2Fdev/stream",
         StreamTarget(ref=WorkspaceRef(name="dev", owner="alice"), kind="ssh")),
        (STREAM + "?kind=tcp&port=65535",
         StreamTarget(ref=WorkspaceRef(name="dev"), kind="tcp", host="localhost", port=65535)),
    ],
)  # fmt: skip
def test_a_client_stream_says_where_it_leads(target: str, wanted: StreamTarget) -> None:
    assert decide_route(_head(target, "kled-stream")).target == wanted


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/workspaces//stream",
        "/api/v1/workspaces/Dev/stream",
        "/api/v1/workspaces/a/b/c/stream",
        "/api/v1/workspaces/%00/stream",
        STREAM + "?kind=udp",
        STREAM + "?kind=tcp",
        *(STREAM + "?kind=tcp&port=" + port for port in (
            "0", "-1", "65536", "1e3", "", "%C2%B2", "0000019999999", "9" * 5000)),
        STREAM + "?" + "&".join(f"a{n}=1" for n in range(9)),
        STREAM + "?" + ";".join(["kind=ssh"] * 9) + "&" * 20 + "&".join(["b=2"] * 20),
    ],
)  # fmt: skip
def test_a_target_that_leads_nowhere_is_an_input_error(target: str) -> None:
    with pytest.raises(InputError):
        decide_route(_head(target, "kled-stream"))


@given(
    st.sampled_from([STREAM, "/api/v1/agent/control", "/api/v1/workspaces/"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=60),
    st.sampled_from(["websocket", "kled-stream", None]),
)
@example(STREAM, "?kind=tcp&port=" + "0" * 4300 + "1", "kled-stream")
def test_any_target_gives_a_route_or_a_kled_error(
    path: str, rest: str, upgrade: str | None
) -> None:
    try:
        route = decide_route(_head(path + rest, upgrade))
    except KledError:
        return
    if route.target is not None:
        assert route.target.kind == "ssh" or 0 < route.target.port < 65536


def test_credentials_are_those_of_the_scheme() -> None:
    head = _head("/", authorization="bearer  kled_x ")
    assert bearer(head, "Bearer") == "kled_x"
    assert bearer(head, "Kled-Ticket") == ""
    assert bearer(_head("/"), "Bearer") == ""
