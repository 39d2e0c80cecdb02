"""Registered keys: the list in force, and real clients without certificates."""

from __future__ import annotations

import base64
import shutil
from hashlib import sha256
from pathlib import Path

import asyncssh
import pytest
import trio
from asyncssh.packet import String
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kled_agent.ssh.guess import is_wrong_guess
from kled_agent.ssh.keys import AcceptedKeys
from kled_agent.ssh.service import StreamKeys
from kled_wire import limits
from kled_wire.control.messages import SetKeys, UserKey
from tests.agent.ssh.site import Site, keygen, run, run_asyncio
from tests.kit.programs import need

SK = b"sk-ssh-ed25519@openssh.com"
KEY = UserKey(id="key_1", user="usr_1", key="ssh-ed25519 AAAA", expires_in_s=60)
OTHERS = UserKey(id="key_2", user="usr_2", key="ssh-ed25519 AAAA", expires_in_s=1e9)


def accepted(*keys: UserKey, now: float = 0.0) -> AcceptedKeys:
    made = AcceptedKeys()
    made.replace(SetKeys(number=1, keys=keys), now)
    return made


def test_a_key_is_good_on_a_stream_of_its_own_user_only() -> None:
    keys = accepted(KEY, OTHERS)
    assert keys.find("usr_1", KEY.key, 1) == "key_1"
    assert keys.find("usr_2", KEY.key, 1) == "key_2"
    assert keys.find("usr_3", KEY.key, 1) is None
    # A coordinator that does not say whose stream it is.
    assert keys.find("", KEY.key, 1) is None
    assert keys.find("usr_1", "ssh-ed25519 AAAB", 1) is None


def test_a_key_ends_by_our_own_monotonic_clock() -> None:
    keys = accepted(KEY, now=100)
    assert keys.find("usr_1", KEY.key, 159.9) == "key_1"
    assert keys.find("usr_1", KEY.key, 160) is None
    assert accepted(
        UserKey(id="k", user="usr_1", key="a b", expires_in_s=float("nan"))
    ).find("usr_1", "a b", 0) is None  # fmt: skip


def test_before_a_list_and_long_after_the_last_word_there_is_none() -> None:
    assert AcceptedKeys().find("usr_1", KEY.key, 0) is None
    keys = accepted(OTHERS)
    keys.heard(50)
    assert keys.find("usr_2", KEY.key, 49.9 + limits.KEYS_UNHEARD_S) == "key_2"
    assert keys.find("usr_2", KEY.key, 50 + limits.KEYS_UNHEARD_S) is None
    keys.heard(10_000)
    assert keys.find("usr_2", KEY.key, 10_000) == "key_2"


def test_a_list_replaces_all_of_the_one_before() -> None:
    keys = accepted(KEY)
    keys.replace(SetKeys(number=2, keys=(OTHERS,)), 1)
    assert keys.find("usr_1", KEY.key, 1) is None
    keys.replace(SetKeys(number=3, keys=()), 1)
    assert keys.find("usr_2", KEY.key, 1) is None


def kexinit(kex: bytes, host_key: bytes, *, follows: bool = False) -> bytes:
    lists = (kex, host_key, *(b"aes128-ctr",) * 6, b"", b"")
    packed = b"".join(len(names).to_bytes(4, "big") + names for names in lists)
    return b"\x14" + bytes(16) + packed + bytes((follows,)) + bytes(4)


@pytest.mark.parametrize(
    ("kex", "host_key", "wrong"),
    [
        (b"a,b", b"x,y", False),
        (b"a", b"x", False),
        # Both can do it, and it is what will be used; still it was not the first of both.
        (b"b,a", b"x,y", True),
        (b"a,b", b"y,x", True),
        (b"c", b"x", True),
        (b"", b"", True),
    ],
)
def test_a_guess_counts_when_both_put_the_same_first(
    kex: bytes, host_key: bytes, wrong: bool
) -> None:
    server = kexinit(b"a,b", b"x,y")
    assert is_wrong_guess(kexinit(kex, host_key, follows=True), server) is wrong
    assert not is_wrong_guess(kexinit(kex, host_key), server)


# --- real clients


def register(site: Site, public: Path) -> None:
    site.allowed.keys[" ".join(public.read_text().split()[:2])] = public.name


def bare(site: Site, private: Path, *more: str) -> list[str]:
    options = [o for o in site.options() if "CertificateFile" not in o and "IdentityFile" not in o]
    return ["ssh", *options, f"-oIdentityFile={private}", *more, "any@ws.kled"]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa -b 256", "ecdsa -b 521", "rsa -b 3072"])
async def test_a_registered_key_of_each_kind_comes_in_and_is_told_of(site: Site, kind: str) -> None:
    keygen("-t", *kind.split(), "-N", "", "-f", site.home / "plain")
    argv = [*bare(site, site.home / "plain"), "echo in"]
    assert (await run(argv)).returncode == 255
    register(site, site.home / "plain.pub")
    assert (await run(argv)).stdout == b"in\n"
    assert site.allowed.used_ == ["plain.pub"]


async def test_offering_a_key_is_no_use_of_it(site: Site) -> None:
    """The public half alone: the server says that it would do, and then nobody signs."""
    keygen("-t", "ed25519", "-N", "", "-f", site.home / "plain")
    register(site, site.home / "plain.pub")
    shutil.copy(site.home / "plain.pub", site.home / "other.pub")
    keygen("-t", "ed25519", "-N", "", "-f", site.home / "other2")
    shutil.copy(site.home / "other2", site.home / "other")
    done = await run([*bare(site, site.home / "other"), "echo in"])
    assert (done.returncode, done.stdout, site.allowed.used_) == (255, b"", [])
    assert (await site.ssh("echo in")).stdout == b"in\n"
    assert site.allowed.used_ == []


async def test_a_signature_over_sha1_is_refused(site: Site) -> None:
    keygen("-t", "rsa", "-b", "3072", "-N", "", "-f", site.home / "plain")
    register(site, site.home / "plain.pub")
    old = "-oPubkeyAcceptedAlgorithms=ssh-rsa"
    assert (await run([*bare(site, site.home / "plain", old), "echo in"])).returncode == 255
    assert (await run([*bare(site, site.home / "plain"), "echo in"])).returncode == 0


@pytest.mark.slow
async def test_dropbear_comes_in_though_it_guesses_the_key_exchange(site: Site) -> None:
    dropbear = need("dbclient")
    file = site.home / "dropbear"
    made = await run(["dropbearkey", "-t", "ed25519", "-f", str(file)])
    (line,) = (line for line in made.stdout.decode().splitlines() if line.startswith("ssh-"))
    site.allowed.keys[" ".join(line.split()[:2])] = "dropbear"
    blob = bytes(range(256)) * 4000
    argv = [dropbear, "-y", "-i", str(file), "-p", str(site.port), "any@127.0.0.1"]
    done = await run([*argv, "cat"], stdin=blob, env={"HOME": str(site.home)})
    assert (done.returncode, done.stdout) == (0, blob), done.stderr
    assert site.allowed.used_ == ["dropbear"]


class SoftToken(asyncssh.SSHKeyPair):
    """A security key in software, with or without a finger on it (OpenSSH's PROTOCOL.u2f)."""

    _key_type = "local"

    def __init__(self, *, touched: bool) -> None:
        self._private = Ed25519PrivateKey.generate()
        public = self._private.public_key().public_bytes_raw()
        data = String(SK) + String(public) + String(b"ssh:")
        super().__init__(SK, SK, (SK,), (), data, b"")
        self._flags = bytes((touched,))

    def sign(self, data: bytes) -> bytes:
        digests = sha256(b"ssh:").digest(), sha256(data).digest()
        counter = bytes(4)
        signed = self._private.sign(digests[0] + self._flags + counter + digests[1])
        return String(SK) + String(signed) + self._flags + counter


@pytest.mark.parametrize("touched", [True, False])
async def test_a_security_key_comes_in_when_somebody_touched_it(site: Site, touched: bool) -> None:
    token = SoftToken(touched=touched)
    encoded = base64.b64encode(token.public_data).decode()
    site.allowed.keys[f"{SK.decode()} {encoded}"] = "token"

    async def client() -> str:
        async with asyncssh.connect(
            "127.0.0.1", site.port, username="any", known_hosts=None, config=None,
            client_keys=[token], agent_path=None,
        ) as connection:  # fmt: skip
            return str((await connection.run("echo in")).stdout)

    if touched:
        assert await run_asyncio(client()) == "in\n"
    else:
        with pytest.raises(asyncssh.PermissionDenied):
            await run_asyncio(client())
    assert site.allowed.used_ == ["token"] * touched


async def test_the_check_of_a_stream_is_for_its_user() -> None:
    used: list[str] = []
    keys = accepted(KEY, now=trio.current_time())
    assert StreamKeys(keys, "usr_1", used.append).find(KEY.key) == "key_1"
    assert StreamKeys(keys, "usr_2", used.append).find(KEY.key) is None
    StreamKeys(keys, "usr_1", used.append).used("key_1")
    assert used == ["key_1"]
