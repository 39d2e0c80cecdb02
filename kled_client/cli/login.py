"""`kled login`, `logout` and `whoami`."""

from __future__ import annotations

import getpass
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import click
import trio

from kled_client.account import credentials, profile
from kled_client.account.certificate import ensure_certificate, ensure_key, identity_of
from kled_client.account.endpoint import normalise_url
from kled_client.account.files import remove
from kled_client.account.profile import Profile
from kled_client.api.client import Api, open_api
from kled_client.api.models import Login
from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.files import read_line
from kled_client.cli.user import code_use, password_origin
from kled_wire.errors import InputError, KledError, UnauthenticatedError, UnavailableError
from kled_wire.transport.address import parse_url
from kled_wire.version import PROTOCOL, is_compatible

_CODE = re.compile(r"kled_once_[A-Za-z0-9_-]+")
_STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """A proof for signing in: a one-time code, or a name and a password."""

    code: str | None = None
    username: str | None = None
    password: str | None = None


@click.command()
@click.argument("url", required=False)
@click.option("--code", metavar="-", help="Read the one-time code from standard input.")
@click.option("--username", "-u", help="Sign in by password, which is prompted for.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--set-password", is_flag=True, help="Set a new password; needs a one-time code.")
@click.option(
    "--ca-file", metavar="FILE", type=click.Path(), help="Trust only the certificates in FILE."
)
@click.option("--token-name", help="Name of the new token in `kled token list`.")
@pass_invocation
def login(  # each is one option of the command
    invocation: Invocation,
    url: str | None,
    code: str | None,
    username: str | None,
    password_stdin: bool,
    set_password: bool,
    ca_file: str | None,
    token_name: str | None,
) -> None:
    """Sign in to the coordinator at URL and store the token.

    Without options it prompts. Scripts pass a one-time code in KLED_LOGIN_CODE or by --code -.
    """
    target = _target(invocation, url, ca_file)
    proof = _ask(invocation.env, code, username, password_stdin)
    if set_password and proof.code is not None:
        chosen = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
        proof = _Proof(code=proof.code, password=chosen)
    name = token_name or f"{getpass.getuser()}@{platform.node() or 'unknown'}"
    answer = trio.run(_sign_in, target, proof, name)
    stored = target._replace(
        user=answer["user"]["name"],
        token_store=credentials.store_token(invocation.env, target.name, answer["token"]),
    )
    profile.save(invocation.env, stored)
    _prepare_ssh(invocation, stored, answer["token"])
    invocation.output.note(f"signed in to {stored.url} as {stored.user}")
    if answer["user"].get("password_set_by") not in {None, stored.user}:
        invocation.output.note(f"note: your password was {password_origin(answer['user'])}")
    invocation.output.note("next: kled create NAME --template TEMPLATE, then kled ssh NAME")


@click.command()
@pass_invocation
def logout(invocation: Invocation) -> None:
    """Revoke the stored token and delete it."""
    used = invocation.profile()
    failure: UnavailableError | None = None
    try:
        invocation.call(Api.logout)
    except UnauthenticatedError:
        # Revoked or expired already, or never stored: what is left is to forget it.
        invocation.output.note("the token was no longer valid")
    except UnavailableError as exc:
        failure = exc
    _forget(invocation, used)
    if failure is not None:
        raise UnavailableError(
            failure.code,
            f"the token was deleted here but not revoked: {failure.message}",
            hint="revoke it later with kled token revoke",
        )
    invocation.output.note(f"signed out of {used.url}")


@click.command()
@pass_invocation
def whoami(invocation: Invocation) -> None:
    """Show the user that you are signed in as."""
    used = invocation.profile()
    user = invocation.call(Api.whoami)
    invocation.output.record(
        {"user": user, "url": used.url, "profile": used.name},
        {
            "user": user["name"],
            "role": user.get("role"),
            "email": user.get("email"),
            "password": password_origin(user),
            "one-time code": code_use(user),
            "coordinator": used.url,
            "profile": used.name,
            "token in": "KLED_TOKEN" if invocation.env.get("KLED_TOKEN") else used.token_store,
        },
    )


def _target(invocation: Invocation, url: str | None, ca_file: str | None) -> Profile:
    """The profile to write, with a checked URL."""
    name = profile.profile_name(invocation.env, invocation.profile_name)
    known: Profile | None = None
    try:
        known = profile.load(invocation.env, invocation.profile_name)
    except UnauthenticatedError:
        if url is None:
            raise InputError(
                "url_missing", "no coordinator is given", hint="kled login https://HOST[:PORT]"
            ) from None
    chosen = normalise_url(url) if url else known.url if known else ""
    address = parse_url(chosen)
    if not address.tls and address.host not in {"localhost", "::1", "127.0.0.1"}:
        invocation.output.note(f"note: {chosen} is not encrypted; others may read your token")
    trust = ca_file or invocation.env.get("KLED_CA_FILE") or (known.ca_file if known else None)
    return Profile(name=name, url=chosen, ca_file=trust)


def _ask(
    env: Mapping[str, str], code: str | None, username: str | None, password_stdin: bool
) -> _Proof:
    if code not in {None, _STDIN}:
        raise InputError(
            "code_in_arguments",
            "a code on the command line can be read by other users of this machine",
            hint="use --code - and standard input, or KLED_LOGIN_CODE",
        )
    if username is not None:
        return _Proof(username=username, password=_password(password_stdin))
    if code == _STDIN:
        return _Proof(code=_find_code(read_line()))
    if env.get("KLED_LOGIN_CODE"):
        return _Proof(code=_find_code(env["KLED_LOGIN_CODE"]))
    if not sys.stdin.isatty():
        raise InputError(
            "no_terminal",
            "there is no terminal to ask for a code",
            hint="use --code - and standard input, or KLED_LOGIN_CODE",
        )
    typed = click.prompt(
        "One-time code (Enter: user name)", default="", show_default=False, err=True
    )
    if typed:
        return _Proof(code=_find_code(typed))
    name = click.prompt("User name", err=True)
    return _Proof(username=name, password=_password(from_stdin=False))


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return read_line()
    return str(click.prompt("Password", hide_input=True, err=True))


def _find_code(text: str) -> str:
    """The code in what was pasted, which may be a whole login URL."""
    found = _CODE.search(text)
    if found is None:
        raise InputError(
            "code_malformed",
            "this is not a one-time code",
            hint="it begins with kled_once_; `kled-coord init` or an admin makes one",
        )
    return found[0]


async def _sign_in(target: Profile, proof: _Proof, token_name: str) -> Login:
    async with open_api(target.url, None, ca_file=target.ca_file) as api:
        version = await api.version()
        protocol = str(version.get("protocol"))
        if not is_compatible(protocol):
            raise UnavailableError(
                "version_unsupported",
                f"{target.url} speaks protocol {protocol}, this kled {PROTOCOL}",
                hint="install the version of kled that the coordinator has",
            )
        if proof.code is not None:
            return await api.exchange(proof.code, proof.password, token_name)
        return await api.login(proof.username or "", proof.password or "", token_name)


def _prepare_ssh(invocation: Invocation, stored: Profile, token: str) -> None:
    """Make the key and fetch the first certificate, so that ssh works at once."""
    ensure_key(identity_of(invocation.env, stored.name))
    try:
        ensure_certificate(invocation.env, stored, token)
    except KledError as exc:
        # Signed in all the same; the next ssh tries again and reports in full.
        invocation.output.note(f"note: no SSH certificate yet: {exc.line()}")


def _forget(invocation: Invocation, used: Profile) -> None:
    credentials.forget_token(invocation.env, used)
    identity = identity_of(invocation.env, used.name)
    remove(identity.certificate)
    remove(identity.state)
    profile.forget(invocation.env, used.name)
