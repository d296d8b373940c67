"""Lets a client that knows no Unix sockets talk to one: a port on loopback, printed, for a path."""

import asyncio
import sys


async def copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # either side may hang up
    finally:
        writer.close()


async def main(socket):
    async def connected(reader, writer):
        to, back = await asyncio.open_unix_connection(socket)
        await asyncio.gather(copy(reader, back), copy(to, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(sys.argv[1]))
