"""Who may be here, and still may.

A socket or request comes in with an address, an origin, a session or a token; it is let in, or gets
the error that says why not. Who was let in is asked for again when rows, sessions or tokens change,
in every process. Limits of connections, joins and rates are counted here, too.
"""
