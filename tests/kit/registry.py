"""A registry of images, as far as a pull goes: manifests, blobs with ranges, and accounts."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.kit.oci import INDEX, MANIFEST, OciImage

TOKEN = "issued-for-a-pull"


@dataclass(kw_only=True)
class ImageServer:
    """Serves `images` by `repository:tag`. With `account` ("user:password") to nobody else.

    `auth` is how it asks who it is: basic or bearer. The next `cuts` answers to blobs end in the
    middle.
    """

    images: dict[str, OciImage] = field(default_factory=dict)
    account: str = ""
    auth: str = "basic"
    cuts: int = 0
    requests: list[str] = field(default_factory=list)
    address: str = ""

    def manifest(self, repository: str, wanted: str) -> tuple[bytes, str] | None:
        """A manifest by tag or digest."""
        image = self.images.get(f"{repository}:{wanted}")
        if image is None:
            image = next((i for i in self.images.values() if wanted in i.blobs), None)
            return None if image is None else (image.blobs[wanted], _type(image.blobs[wanted]))
        data = image.blobs[image.manifest]
        return data, _type(data)

    def blob(self, digest: str) -> bytes | None:
        """A blob of any image."""
        return next((i.blobs[digest] for i in self.images.values() if digest in i.blobs), None)

    def may(self, header: str) -> bool:
        """Whether an Authorization header is the account's."""
        if not self.account:
            return True
        basic = "Basic " + base64.b64encode(self.account.encode()).decode()
        return header == (f"Bearer {TOKEN}" if self.auth == "bearer" else basic)


def _type(data: bytes) -> str:
    return str(json.loads(data).get("mediaType", INDEX if b'"manifests"' in data else MANIFEST))


@contextmanager
def open_image_server(**given: Any) -> Iterator[ImageServer]:
    """Serve on a free port of this machine as long as the context lasts."""
    served = ImageServer(**given)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(served, self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as above
            served.requests.append(format % args)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(served: ImageServer, request: BaseHTTPRequestHandler) -> None:
    authorization = request.headers.get("authorization", "")
    if request.path.startswith("/token"):
        basic = "Basic " + base64.b64encode(served.account.encode()).decode()
        if authorization != basic:
            return _send(request, 401, b"")
        return _send(request, 200, json.dumps({"token": TOKEN}).encode())
    if not served.may(authorization):
        challenge = 'Basic realm="test"'
        if served.auth == "bearer":
            challenge = f'Bearer realm="http://{served.address}/token",service="test",scope="pull"'
        return _send(request, 401, b"", {"www-authenticate": challenge})
    found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", request.path)
    if found and found[2] == "manifests":
        if (manifest := served.manifest(found[1], found[3])) is not None:
            return _send(request, 200, manifest[0], {"content-type": manifest[1]})
    elif found and (blob := served.blob(found[3])) is not None:
        return _send_blob(served, request, blob)
    return _send(request, 404, b"")


def _send_blob(served: ImageServer, request: BaseHTTPRequestHandler, blob: bytes) -> None:
    wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    data = blob[int(wanted[1]) :] if wanted else blob
    request.send_response(206 if wanted else 200)
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    if served.cuts > 0 and len(data) > 1000:
        served.cuts -= 1
        request.wfile.write(data[: len(data) // 2])
        request.close_connection = True
        return
    request.wfile.write(data)


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
