"""The local checks of `kled doctor`: ssh, its configuration, the identity, limits."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Mapping

from kled_client.account.certificate import identity_of
from kled_client.account.endpoint import proxy_for
from kled_client.account.profile import Profile
from kled_client.doctor import judge
from kled_client.doctor.judge import Finding
from kled_client.openssh.block import has_block
from kled_client.openssh.setup import default_path, read_config, with_block
from kled_wire.transport.address import parse_url

_SSH_ANSWERS_S = 5.0


def check_proxy(env: Mapping[str, str], profile: Profile) -> Finding:
    """Which proxy the variables name; user and password are never shown. Raises ConfigError."""
    where = proxy_of(env, profile)
    if where:
        return judge.ok(where)
    name = f"{parse_url(profile.url).scheme}_proxy".upper()
    is_set = env.get(name) or env.get(name.lower())
    return judge.ok(f"none ({name} does not apply to this host)" if is_set else "none")


def proxy_of(env: Mapping[str, str], profile: Profile) -> str:
    """The proxy as people may see it, or "". Raises ConfigError."""
    via = proxy_for(parse_url(profile.url), env)
    if via is None:
        return ""
    known = ", with user and password" if via.authorization else ""
    return f"the proxy {via.host}:{via.port}{known}"


def check_ssh() -> Finding:
    """OpenSSH's client."""
    program = shutil.which("ssh")
    if program is None:
        return judge.warn("ssh is not installed", "install OpenSSH; kled ssh does not need it")
    try:
        done = subprocess.run(
            [program, "-V"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SSH_ANSWERS_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return judge.warn(f"{program} does not run: {exc}")
    return judge.ok(judge.shown((done.stderr or done.stdout).decode(errors="replace")))


def check_ssh_config(env: Mapping[str, str], profile_name: str) -> Finding:
    """Whether `kled config-ssh` was run, and would write the same today. Raises KledError."""
    path = default_path(env)
    content = read_config(path)
    if not has_block(content):
        return judge.warn(f"{path} has no block for *.kled", "run kled config-ssh to use plain ssh")
    if with_block(env, profile_name, content) != content:
        return judge.warn(f"the block in {path} is another kled's or profile's", "kled config-ssh")
    return judge.ok(f"{path} has the block for *.kled")


def check_identity(env: Mapping[str, str], profile_name: str) -> Finding:
    """The SSH key and certificate."""
    identity = identity_of(env, profile_name)
    if not os.path.exists(identity.key):  # noqa: PTH110  # Identity holds strings
        return judge.warn("there is no SSH key yet", "the first connection creates one")
    mode = os.stat(identity.key).st_mode & 0o777  # noqa: PTH116
    if mode & 0o077:
        return judge.warn(f"others can read {identity.key}", f"chmod 600 {identity.key}")
    has = os.path.exists(identity.certificate)  # noqa: PTH110
    words = "and certificate are there" if has else "is there, no certificate yet"
    return judge.ok(f"the key {words}; the next connection renews what is due")


def check_open_files() -> Finding:
    """The limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return judge.ok("unlimited")
    return judge.judge_open_files(soft)
