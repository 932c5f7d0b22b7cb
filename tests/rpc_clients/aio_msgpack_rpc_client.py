"""aio-msgpack-rpc."""

import asyncio
import sys

import aio_msgpack_rpc
from aio_msgpack_rpc.error import RPCResponseError

port, stream = int(sys.argv[1]), sys.argv[2]


async def main():
    client = aio_msgpack_rpc.Client(*await asyncio.open_connection("127.0.0.1", port))

    async def publish(payload):
        return (await client.call("publish", stream, payload))["offset"]

    print(await client.call("ping"))
    print(await publish("call"))
    await client.notify("publish", stream, "notification")
    try:
        await client.call("nonsense")
    except RPCResponseError as error:
        print(error)
    print(await publish("ä" * 35_000))
    print(await publish(bytes([255, 0]) * 35_000))
    print(await client.call("push_data", {"from": "aio-msgpack-rpc"}))
    client.close()


asyncio.run(main())
