"""Requests that had no answer, or one that is not a coordinator's: what to tell of them."""

from __future__ import annotations

import os
import ssl

from kled_client.account.endpoint import is_plain_http, proxy_for, wrong_scheme
from kled_client.account.http import no_proxy
from kled_client.api.lean_httpx import httpx
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.transport.address import parse_url


def foreign(url: str, response: httpx.Response) -> ProtocolError:
    """The answer is not a coordinator's."""
    address = parse_url(url)
    return ProtocolError(
        "answer_malformed",
        f"{url} answers {response.status_code}, not a coordinator's answer",
        hint=f"is it there without {address.base}? kled login {address._replace(base='').url}"
        if address.base
        else "check the coordinator's URL with kled whoami",
    )


def unreachable(url: str, exc: httpx.HTTPError) -> UnavailableError:
    """What to tell of a request that had no answer, or none that HTTP allows."""
    cause = _cause(exc)
    address = parse_url(url)
    if isinstance(cause, ssl.SSLError) and is_plain_http(cause.reason):
        return wrong_scheme(address)
    # h11's word for an answer that begins with a control character, as a TLS alert does.
    if not address.tls and str(exc) == "illegal request line":
        return wrong_scheme(address)
    if isinstance(exc, httpx.ConnectError | httpx.ConnectTimeout) and not isinstance(
        cause, ssl.SSLError
    ):
        proxy = proxy_for(address, os.environ)  # as httpx, which reads them itself
        if proxy is not None:
            # Trio tried several addresses; their errors are of one kind.
            first = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause
            number = getattr(first, "errno", None)
            error = OSError(number, os.strerror(number)) if number else OSError(str(exc))
            return no_proxy(proxy.host, proxy.port, error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return UnavailableError(
            "tls_untrusted",
            f"the certificate of {url} is not trusted: {cause.verify_message}",
            hint="kled login --ca-file FILE, or KLED_CA_FILE",
        )
    timed_out = isinstance(exc, httpx.TimeoutException)
    why = "no answer in time" if timed_out else str(exc) or str(cause) or type(exc).__name__
    return UnavailableError(
        "coordinator_unreachable",
        f"cannot reach {url}: {why}",
        hint="check that the coordinator is running, and check its URL with kled whoami",
    )


def _cause(exc: BaseException) -> BaseException:
    """The first cause: httpx and Trio wrap without words of their own, and httpcore hides it."""
    while (inner := exc.__cause__ or exc.__context__) is not None:
        exc = inner
    return exc
