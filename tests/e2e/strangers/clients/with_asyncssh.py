"""asyncssh with the person's own ssh configuration: CONFIG KEY PORT HOST_KEY BLOB FOLDER."""

from __future__ import annotations

import asyncio
import sys

import asyncssh


async def main() -> None:
    config_file, key, _port, host_key, blob, folder = sys.argv[1:]
    known = asyncssh.import_known_hosts(f"dev.kled {host_key}\n")
    async with asyncssh.connect(
        "dev.kled", username="me", config=[config_file], client_keys=[key], known_hosts=known
    ) as link:
        done = await link.run("echo ran; exit 5")
        print("status" if done.exit_status == 5 else "no status")
        print(str(done.stdout).strip())
        async with link.start_sftp_client() as sftp:
            await sftp.put(blob, f"{folder}/up")
            await sftp.get(f"{folder}/up", f"{folder}/down")
        print("copied")

        async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"forwarded")
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with link.forward_local_port("127.0.0.1", 0, "127.0.0.1", port) as here:
                reader, writer = await asyncio.open_connection("127.0.0.1", here.get_port())
                print((await reader.read()).decode())
                writer.close()


asyncio.run(main())
