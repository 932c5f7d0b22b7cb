"""Signals of Broadcast, as Django's.

`socket_joined` and `socket_left` are sent once for each page socket: when it hears its channels,
and when it is gone. Both with `socket` (a `pages.subscriptions.PageSocket`), `session`, `user` and
`digest`, as they were when it was opened; "" is the digest of a socket without a session of pages.
"""

from django.dispatch import Signal

socket_joined = Signal()
socket_left = Signal()
