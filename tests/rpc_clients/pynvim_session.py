"""pynvim's client of MessagePack-RPC, which first says who it is, with names as `bin`."""

import sys

from pynvim.msgpack_rpc import tcp_session

port, stream = int(sys.argv[1]), sys.argv[2]
client = tcp_session("127.0.0.1", port)


def publish(payload):
    return client.request("publish", stream, payload)["offset"]


print(client.request("ping"))
print(publish("call"))
client.request("publish", stream, "notification", async_=True)
try:
    client.request("nonsense")
except Exception as error:
    print(error)
print(publish("ä" * 35_000))
print(publish(bytes([255, 0]) * 35_000))
print(client.request("push_data", {"from": "pynvim"}))
client.close()
