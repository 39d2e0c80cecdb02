"""paramiko over a ProxyCommand: CONFIG KEY PORT HOST_KEY BLOB FOLDER."""

from __future__ import annotations

import base64
import socket
import sys
import threading

import paramiko


def main() -> None:
    config_file, key, _port, host_key, blob, folder = sys.argv[1:]
    config = paramiko.SSHConfig.from_path(config_file)
    proxy = paramiko.ProxyCommand(config.lookup("dev.kled")["proxycommand"])
    kind, encoded = host_key.split()[:2]
    client = paramiko.SSHClient()
    pinned = paramiko.PKey.from_type_string(kind, base64.b64decode(encoded))
    client.get_host_keys().add("dev.kled", kind, pinned)
    client.connect("dev.kled", username="me", key_filename=key, sock=proxy, allow_agent=False)
    transport = client.get_transport()
    assert transport is not None
    transport.send_ignore()
    _, out, _ = client.exec_command("echo ran; exit 5")
    print("status" if out.channel.recv_exit_status() == 5 else "no status")
    print(out.read().decode().strip())
    with client.open_sftp() as sftp:
        sftp.put(blob, f"{folder}/up")
        sftp.get(f"{folder}/up", f"{folder}/down")
    print("copied")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        target = ("127.0.0.1", server.getsockname()[1])
        channel = transport.open_channel("direct-tcpip", target, ("127.0.0.1", 1))
        got = b""
        while data := channel.recv(100):
            got += data
    print(got.decode())
    client.close()


def greet(server: socket.socket) -> None:
    link, _ = server.accept()
    with link:
        link.sendall(b"forwarded")


main()
