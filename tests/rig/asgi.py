"""One request to an ASGI application, without a server."""

from typing import Any

from asgiref.testing import ApplicationCommunicator


async def ask(
    application: Any, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by their small names, and body of the answer."""
    named = {"host": "localhost", "content-length": str(len(body)), **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request", "body": body})
    start = await communicator.receive_output(10)
    parts, is_more = [], True
    while is_more:
        part = await communicator.receive_output(10)
        parts.append(part.get("body", b""))
        is_more = part.get("more_body", False)
    await communicator.wait()
    told = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], told, b"".join(parts)
