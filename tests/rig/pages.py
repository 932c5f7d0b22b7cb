"""Somebody with a browser, without the browser: opens pages of `page_views` and their sockets."""

import asyncio
import itertools
import json
import re
from http.cookiejar import CookieJar
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from tests.rig.doors import PATIENCE, ServerDoor, Socket

#: What a server has in its environment, to serve `page_views`.
URLS = {"DJANGO_SETTINGS_MODULE": "tests.settings", "ROOT_URLCONF": "tests.rig.page_views"}
_ids = itertools.count(1)


class Answer:
    def __init__(self, response: Any) -> None:
        self.status = response.status
        self.headers = response.headers
        self.text = response.read().decode()


class Person:
    """Keeps cookies. `door`: the server that they go to where no other is named."""

    def __init__(self, door: ServerDoor) -> None:
        self.door = door
        self.jar = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.jar))

    async def get(self, path: str, door: ServerDoor | None = None, **query: Any) -> Answer:
        """Open a page. A list in `arguments` is told as JSON."""
        if "arguments" in query:
            query["arguments"] = json.dumps(query["arguments"])
        url = (door or self.door).process.url + path
        return await asyncio.to_thread(self._get, f"{url}?{urlencode(query, doseq=True)}")

    def _get(self, url: str) -> Answer:
        try:
            with self.opener.open(url, timeout=PATIENCE) as response:
                return Answer(response)
        except HTTPError as error:
            return Answer(error)

    async def aclose(self) -> None:
        await self.door.aclose()

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{one.name}={one.value}" for one in self.jar)}

    async def page(self, *channels: str, path: str = "/page/") -> "Page":
        """A page that is subscribed to the channels."""
        answer = await self.get(path, subscribe=channels)
        assert answer.status == 200, answer.text
        said = json.loads(answer.text[answer.text.rindex("<body>") + 6 :])
        found = re.search(r'<body data-socket-connection-id="(\w+)" class=x>', answer.text)
        assert found and found[1] == said["id"], answer.text
        return Page(self, said["id"], said["digest"])


class Page:
    def __init__(self, person: Person, id: str, digest: str) -> None:
        self.person = person
        self.id = id
        self.digest = digest

    async def open(
        self,
        door: ServerDoor | None = None,
        path: str = "/ws/socket/",
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> "PageSocket":
        """Open its socket, which hears its channels when this answers."""
        query = {"socket_connection_id": self.id, **query}
        headers = self.person.cookie if headers is None else headers
        door = door or self.person.door
        socket = await door.connect(f"{path}?{urlencode(query)}", headers=headers)
        page = PageSocket(socket)
        page.told = []
        assert await page.call("ping") == {"status": 200, "headers": {}, "body": "pong"}
        return page


class PageSocket:
    """The socket of a page."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        #: Messages that came before an answer.
        self.told: list[Any] = []
        self.answers: dict[Any, Any] = {}

    async def receive(self) -> Any:
        """The next message."""
        while not self.told:
            await self._read()
        return self.told.pop(0)

    async def _read(self) -> None:
        frame = await self.socket.receive()
        assert isinstance(frame, str)
        said = json.loads(frame)
        if "id" in said:
            self.answers[said.pop("id")] = said
        else:
            self.told.append(said)

    async def say(self, action: str, **fields: Any) -> int:
        """Say something, and do not wait for the answer to its id."""
        id = next(_ids)
        await self.socket.send(json.dumps({"id": id, "action": action, **fields}))
        return id

    async def answer(self, id: Any) -> Any:
        while id not in self.answers:
            await self._read()
        return self.answers.pop(id)

    async def call(self, action: str, **fields: Any) -> Any:
        return await self.answer(await self.say(action, **fields))

    async def route(self, method: str, uri: str, input: Any = None) -> Any:
        """Call a view. The body is decoded, where it is JSON."""
        answer = await self.call("call-route", method=method, uri=uri, input=input)
        if answer.get("headers", {}).get("Content-Type") == "application/json":
            answer["body"] = json.loads("".join(answer["body"]))
        return answer

    async def receive_nothing(self) -> None:
        """Nothing came, up to the answer of a ping."""
        await self.call("ping")
        assert self.told == []


async def push(person: Person, message: Any, *channels: Any) -> None:
    answer = await person.get("/do/push/", arguments=[message, *channels])
    assert answer.status == 200, answer.text


def arguments(*values: Any) -> str:
    return f"arguments={json.dumps(values).replace(' ', '')}"
