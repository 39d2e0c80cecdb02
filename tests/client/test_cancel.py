"""`kled cancel` through the real command against a fake coordinator."""

from __future__ import annotations

from tests.client.conftest import Kled
from tests.client.fake import Fake, problem

CANCEL = "/api/v1/builds/bld_1/cancel"
BUILD = {"id": "bld_1", "transition": "start", "status": "canceled"}


def test_cancel_waits_until_the_build_has_stopped(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["POST", CANCEL] = (202, {**BUILD, "status": "canceling"})
    signed_in.routes["GET", "/api/v1/builds/bld_1"] = (200, BUILD)
    signed_in.log = [{"end": {"status": "canceled", "error": "canceled"}}]
    done = kled("cancel", "dev")
    assert (done.returncode, done.stderr) == (0, b"the start of dev is canceled\n")
    assert kled("cancel", "dev", "--force").returncode == 0
    asked = [target for method, target, _ in signed_in.requests if method == "POST"]
    assert asked == [CANCEL, f"{CANCEL}?force=true"]


def test_there_may_be_nothing_to_cancel(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["POST", CANCEL] = problem(409, "build_not_active", "the build is succeeded")
    done = kled("cancel", "dev")
    assert (done.returncode, done.stderr) == (5, b"error: the build is succeeded\n")
