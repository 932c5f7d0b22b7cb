"""Sockets of the operating system: our own server, with the HTTP of Daphne.

Connections come in, bounded in number, bytes and time from their accept; requests and frames go to
the ASGI application, and what it writes goes out with flow control. SIGTERM drains: everybody is
told, then closed, and what was accepted is published. Several workers share one socket.
"""
