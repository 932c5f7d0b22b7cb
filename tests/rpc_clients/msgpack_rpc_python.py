"""msgpack-rpc-python 0.4.1: of old, it knows neither `bin` nor which bytes are text."""

import sys

import msgpackrpc

port, stream = int(sys.argv[1]), sys.argv[2]
client = msgpackrpc.Client(msgpackrpc.Address("127.0.0.1", port), timeout=10)


def publish(payload):
    return client.call("publish", stream, payload)[b"offset"]


print(client.call("ping").decode())
print(publish("call"))
client.notify("publish", stream, "notification")
try:
    client.call("nonsense")
except msgpackrpc.error.RPCError as error:
    print(error.args[0].decode())
print(publish("ä" * 35_000))
print(publish(bytes([255, 0]) * 35_000))
print(client.call("push_data", {"from": "msgpack-rpc-python"}))
client.close()
