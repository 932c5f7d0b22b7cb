"""From `publish` to the sinks of everybody who hears it.

A publication comes in by `publishing`, gets its offset in history (`appending`), and crosses the
channel layer to every process that hears its stream (`bus`, `relay`). There it stands once, in the
ring of its topic (`ring`, `topics`), and each listener has a cursor (`listeners`): each gets every
publication once, in order, or is told what is missing.
"""
