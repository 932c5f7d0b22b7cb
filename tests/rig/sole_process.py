"""The look for other server processes, as a server does it; the clean slate of a test has none."""

from broadcast.access import sole_process

#: Taken before any test replaces it.
LOOK_OUT = sole_process.look_out
