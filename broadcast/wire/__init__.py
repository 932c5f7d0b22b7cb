"""A publication as bytes, for one kind of listener.

Publications come in; frames of a WebSocket, messages for other ASGI servers or blocks of an event
stream go out, made once for all listeners of an encoding. Sinks take them to a socket, and say when
it is full. Nothing here waits, and nothing decides who hears what.
"""
