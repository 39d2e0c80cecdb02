"""`kled show`: outputs, notes, several agents, and a place in the queue."""

from __future__ import annotations

from tests.client.conftest import Kled
from tests.client.fake import Fake, workspace

SHOW = ("GET", "/api/v1/workspaces/dev")


def lines(signed_in: Fake, kled: Kled, **changes: object) -> list[str]:
    signed_in.routes[SHOW] = (200, {**workspace(), **changes})
    done = kled("show", "dev")
    assert done.returncode == 0, done.stderr
    return [" ".join(line.split()) for line in done.stdout.decode().splitlines()]


def test_show_tells_outputs_and_masks_sensitive_ones(signed_in: Fake, kled: Kled) -> None:
    outputs = {
        "url": {"value": "http://x", "sensitive": False},
        "script": {"value": "#!/bin/sh\nset -eu\n", "sensitive": False},
        "ports": {"value": [1, 2], "sensitive": False},
        "password": {"value": None, "sensitive": True},
        "off": {"value": None, "sensitive": False},
        "long": {"value": None, "sensitive": False, "too_long": True},
    }
    shown = lines(signed_in, kled, outputs=outputs)
    assert [line for line in shown if line.startswith("output")] == [
        "output url http://x",
        "output script #!/bin/sh … (2 lines; -o json has all)",
        "output ports [1, 2]",
        "output password (sensitive)",
        "output long (too long to show)",
    ]


def test_show_tells_what_is_noted_on_resources_and_what_they_cost(
    signed_in: Fake, kled: Kled
) -> None:
    def note(address: str, *items: tuple[str, str | None], **more: object) -> dict[str, object]:
        said = [{"key": key, "value": value, "sensitive": value is None} for key, value in items]
        other = {"type": "x", "icon": "", "hide": False, "daily_cost": 0}
        return {"address": address, **other, "items": said, **more}

    notes = [
        note("x.vm", ("cpu", "4"), ("password", None), daily_cost=3),
        note("x.disk", ("text", "two\nlines " + "long " * 99)),
        note("x.disk", ("size", "1 GB")),
        note("x.hidden", ("cpu", "4"), hide=True),
        note("x.silent"),
    ]
    shown = lines(signed_in, kled, notes=notes, daily_cost=3.5)
    assert "x.vm cpu 4, password (sensitive), costs 3 a day" in shown
    (disk,) = (line for line in shown if line.startswith("x.disk"))
    assert disk.startswith("x.disk text two lines long long")
    assert disk.endswith(", size 1 GB")
    assert len(disk) < 250
    assert not [line for line in shown if line.startswith(("x.hidden", "x.silent"))]
    assert "daily cost 3.5" in shown
    assert not [line for line in lines(signed_in, kled) if line.startswith("daily")]


def test_show_tells_the_place_in_the_queue_and_every_agent(signed_in: Fake, kled: Kled) -> None:
    build = {**workspace()["latest_build"], "queue": {"position": 3, "reason": "it waits"}}
    agents = [{"id": f"agt_{n}", "name": n, "status": "never"} for n in ("db", "web")]
    shown = lines(signed_in, kled, agent=None, agents=agents, latest_build=build)
    assert "queue position 3: it waits" in shown
    assert "agents, none main db never, web never" in shown
