"""Rooms: peers that exchange signalling messages, by palava's protocol.

Messages of clients come in (`messages`, `signaling`), become steps of a peer (`peers`), and go out
to all members in one order (`meetings`). Joins are atomic in the backend; a member whose process
died leaves within `PEER_SECONDS`, and every hour is counted.
"""
