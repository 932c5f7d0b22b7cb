"""Streams, as browsers meet them: the sockets that hear and feed one, its pages, its recordings.

Frames of a streamer come in and go to `ingest`; what a listener wishes for decides where it begins
in the topic of the hub. A client that breaks the protocol is told so with a close code, and nobody
else notices.
"""
