"""MessagePack-RPC: programs in any language publish, feed and ask.

Bytes come in and are decoded in bounded pieces (`decoder`), each call becomes a method (`methods`),
and answers go out as calls finish (`server`). The calls of a connection keep their order on a
stream, and one that sends too much is read no further.
"""
