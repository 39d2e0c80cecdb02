"""What clients may rely on as with sshd: refused output, odd packets, statuses, algorithms."""

from __future__ import annotations

import os
import subprocess

import asyncssh
import pytest
import trio

from kled_agent.ssh.fastpath import MSG_IGNORE
from kled_agent.ssh.server import good_macs
from tests.agent.ssh.site import Site, run_asyncio


@pytest.mark.parametrize("terminal", [[], ["-tt"]], ids=["pipes", "terminal"])
async def test_a_program_ends_when_the_client_takes_no_more(
    site: Site, terminal: list[str]
) -> None:
    line = f"trap 'echo hung up >> {site.home}/ended; exit' HUP; yes; echo $? >> {site.home}/ended"
    read_end, write_end = os.pipe()
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(
            ["ssh", *site.options(), *terminal, "any@ws.kled", line],
            stdin=subprocess.DEVNULL,
            stdout=write_end,
        )
        os.close(write_end)
        await trio.lowlevel.wait_readable(read_end)
        os.close(read_end)
        await process.wait()
    # SIGPIPE where it is not ignored.
    assert (site.home / "ended").read_text() == ("hung up\n" if terminal else "141\n")


@pytest.mark.parametrize(("number", "status"), [(35, 163), (15, 255)])
async def test_a_programs_end_by_a_signal_is_told(site: Site, number: int, status: int) -> None:
    assert (await site.ssh(f"kill -{number} $$")).returncode == status


async def test_a_session_has_a_logins_umask(site: Site) -> None:
    before = os.umask(0o077)
    try:
        assert (await site.ssh("umask")).stdout == b"0022\n"
    finally:
        os.umask(before)


async def _ignore_and_ask(site: Site) -> bytes:
    folder = site.keys.folder
    keys = [(str(folder / "user"), str(folder / "good-cert.pub"))]
    async with asyncssh.connect(
        "127.0.0.1", site.port, config=None, known_hosts=None, client_keys=keys
    ) as connection:
        for size in range(3):
            connection.send_packet(MSG_IGNORE, bytes(size))  # paramiko's are no strings either
        done = await connection.run("echo still here", encoding=None)
        assert isinstance(done.stdout, bytes)
        return done.stdout


async def test_what_is_to_be_ignored_is(site: Site) -> None:
    with trio.fail_after(20):
        assert await run_asyncio(_ignore_and_ask(site)) == b"still here\n"


def test_macs_are_chosen_from_what_this_machine_has() -> None:
    """asyncssh has umac with libnettle alone, which few images have."""
    sha2 = ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512"]
    poor = ["hmac-sha1", "hmac-sha1-etm@openssh.com", "hmac-sha256-2@ssh.com"]
    assert good_macs([*sha2, *poor]) == sha2
    umac = ["umac-128-etm@openssh.com", "umac-64-etm@openssh.com"]
    assert good_macs([*umac, *sha2]) == [umac[0], *sha2]


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "KexAlgorithms=diffie-hellman-group-exchange-sha256",
        "MACs=hmac-sha1",
        "MACs=hmac-sha1-etm@openssh.com",
    ],
)
async def test_weak_algorithms_are_not_offered(site: Site, option: str) -> None:
    ciphers = ["-o", "Ciphers=aes128-ctr"] if "MACs" in option else []
    done = await site.ssh("true", options=["-o", option, *ciphers])
    assert done.returncode == 255
