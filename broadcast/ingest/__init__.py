"""From a streamer to `publish`: in turn, cut, counted, recorded.

Frames and bytes of any door that feeds a stream come in; drafts of publications go out, in the
order of the streamers' turns. What a client sent before its clean close is published exactly once,
before anything of the next one, and a recording has exactly its streamer's bytes.
"""
