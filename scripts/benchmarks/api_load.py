"""Clients that ask an API over https without a pause, in a process of their own.

`api_load.py URL CLIENTS`; a token comes on standard input, whose end ends the clients. Prints
`asking` once they have begun, at the end how many requests a second were answered. Each connection
is for ten requests, so that one in ten comes with a handshake.
"""

from __future__ import annotations

import http.client
import ssl
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

PATH = "/api/v1/workspaces"
REQUESTS_A_CONNECTION = 10


def ask(url: str, token: str, over: threading.Event) -> int:
    """Ask until it is `over`, and at least once. Returns how many answers came."""
    to = urlsplit(url)
    context = ssl.create_default_context()
    answers = 0
    while not (answers and over.is_set()):
        connection = http.client.HTTPSConnection(to.hostname or "", to.port, context=context)
        for _ in range(REQUESTS_A_CONNECTION):
            connection.request("GET", PATH, headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            body = response.read()
            if response.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{PATH}: {response.status} {body[:500]!r}")
            answers += 1
            if over.is_set():
                break
        connection.close()
    return answers


def main(url: str, clients: int) -> None:
    """Ask with all clients until standard input ends. Raises what one of them met."""
    token = sys.stdin.readline().strip()
    over = threading.Event()
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        asked = [pool.submit(ask, url, token, over) for _ in range(clients)]
        print("asking", flush=True)
        sys.stdin.read()
        over.set()
        answers = sum(each.result() for each in asked)
    print(answers / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
