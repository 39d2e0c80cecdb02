"""The block `kled config-ssh` keeps in ~/.ssh/config. Bytes in, bytes out, no I/O.

The block stands at the top, because ssh takes the first value it meets, and ends with `Host *`,
so that what followed still applies to every host. Everything outside the markers stays as it is.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from kled_wire.errors import InputError

BEGIN = b"# >>> kled >>> written by `kled config-ssh`; changes in here are lost"
END = b"# <<< kled <<<"
_BEGIN_MARK = b"# >>> kled >>>"
# AES-GCM runs in hardware on every machine of the last ten years (docs/architecture.md, SSH).
CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """What the block is made of; paths are absolute. `control_path` None: no multiplexing.

    `renew` gets a new certificate, `renewed` is a file that was written when that was done last.
    """

    command: tuple[str, ...]
    renew: tuple[str, ...]
    renewed: str
    identity: str
    certificate: str
    known_hosts: str
    control_path: str | None


def render_block(settings: BlockSettings) -> bytes:
    """The block with its markers. Raises InputError("path_unquotable")."""
    proxy = _words(settings.command)
    lines = [
        # A program that reads the certificate before the ProxyCommand runs finds a valid one. The
        # test of the file's age costs ssh nothing; the ProxyCommand reports what goes wrong here.
        f'Match originalhost *.kled exec "{_renewal(settings)}"',
        "Host *.kled",
        f"  ProxyCommand {proxy} %h",
        "  ProxyUseFdpass yes",
        f"  IdentityFile {_quote(settings.identity)}",
        f"  CertificateFile {_quote(settings.certificate)}",
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {_quote(settings.known_hosts)}",
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        f"  Ciphers {CIPHERS}",
        # The stream below replaces a dead transport: ssh must not give up meanwhile.
        "  ServerAliveInterval 0",
        "  SendEnv LANG LC_*",
    ]
    if settings.control_path is not None:
        lines += [
            "  ControlMaster auto",
            f"  ControlPath {_quote(settings.control_path, tokens=True)}",
            "  ControlPersist 10m",
        ]
    lines.append("Host *")
    return b"\n".join([BEGIN, *(line.encode() for line in lines), END, b""])


def _words(command: tuple[str, ...]) -> str:
    return " ".join(shlex.quote(word).replace("%", "%%") for word in command)


def _renewal(settings: BlockSettings) -> str:
    """What ssh has a shell do; after six of ten minutes. Raises InputError("path_unquotable")."""
    for word in settings.renew:
        _quote(word)
    is_new = f"find {_words((settings.renewed,))} -mmin -6 2>/dev/null | grep -q ."
    return f"{is_new} || {_words(settings.renew)} </dev/null >/dev/null 2>&1"


def put_block(content: bytes, block: bytes) -> bytes:
    """`content` with `block` in it once: where the old one stood, else at the top.

    Raises InputError("ssh_config_markers") when the markers in `content` do not pair up.
    """
    found = _find(content)
    if found is None:
        return block + content
    start, end = found
    return content[:start] + block + content[end:]


def take_block(content: bytes) -> bytes:
    """`content` without the block. Raises InputError("ssh_config_markers")."""
    found = _find(content)
    return content if found is None else content[: found[0]] + content[found[1] :]


def has_block(content: bytes) -> bool:
    """Raises InputError("ssh_config_markers")."""
    return _find(content) is not None


def _find(content: bytes) -> tuple[int, int] | None:
    """Where the block's lines begin and end (with its last newline)."""
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    for line in content.splitlines(keepends=True):
        if line.startswith(_BEGIN_MARK):
            starts.append(position)
        position += len(line)
        if line.rstrip(b"\r\n") == END:
            ends.append(position)
    if not starts and not ends:
        return None
    if len(starts) != 1 or len(ends) != 1 or ends[0] <= starts[0]:
        raise InputError(
            "ssh_config_markers",
            "the kled markers in the ssh configuration do not pair up; nothing was changed",
            hint=f"delete the lines from {_BEGIN_MARK.decode()!r} to {END.decode()!r} by hand",
        )
    return starts[0], ends[0]


def _quote(path: str, *, tokens: bool = False) -> str:
    if '"' in path or not path.isprintable():
        raise InputError(
            "path_unquotable",
            f"ssh's configuration cannot hold the path {path!r}",
            hint="set KLED_CONFIG_DIR to a plainer one",
        )
    text = path if tokens else path.replace("%", "%%")
    return f'"{text}"' if " " in text else text
