"""The tables of docs/reference/ have what the code has."""

import re
from argparse import SUPPRESS, ArgumentParser
from inspect import isclass, signature

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand
from django.template import Library
from prometheus_client.metrics import MetricWrapperBase

import broadcast
from broadcast import checks, exceptions, metrics, publish, testing
from broadcast.api import schema
from broadcast.conf import Conf, Setting
from broadcast.exceptions import BroadcastError, CloseCode, RoomError
from broadcast.pages.subscriptions import PageSocket
from broadcast.rooms.peers import EVENTS
from broadcast.rpc.methods import METHODS
from broadcast.templatetags import broadcast as tags
from tests.rig.documents import page, rows, section
from tests.rig.launcher import ROOT

STATIC = ROOT / "static" / "broadcast"


def names(cells: str) -> set[str]:
    """The names between backticks, without arguments."""
    return set(re.findall(r"`@?([\w.-]+)", cells))


# -- settings and commands ------------------------------------------------------------------


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table: dict[str, str] = {}
    for cell, default, _ in rows(page("reference/settings")):
        defaults = [value.strip("`") for value in re.split(", (?=`)", default)]
        found = re.findall(r"BROADCAST_\w+", cell)
        table |= dict(zip(found, defaults, strict=False))
    defaults = {
        setting.name: setting.default
        for setting in vars(Conf).values()
        if isinstance(setting, Setting)
    }
    assert {name: in_words(default) for name, default in defaults.items()} == table


def in_words(default: object) -> str:
    if default == "":
        return "none"
    if isinstance(default, bool):
        return str(default)
    if isinstance(default, int) and default % (1024 * 1024) == 0:
        return f"{default // 1024 // 1024} MiB"
    if isinstance(default, int) and default % 1024 == 0 and default >= 65536:
        return f"{default // 1024} KiB"
    return f"{default:g}" if isinstance(default, float) else str(default) or "none"


def test_every_variable_of_the_environment_is_in_the_table() -> None:
    source = (ROOT / "project" / "settings.py").read_text()
    read = set(re.findall(r'(?:environ\.get|env_\w+)\(\s*"(\w+)"', source))
    table = rows(section(page("reference/settings"), "From the environment"))
    # What a project of one's own calls `REDIS_URL`.
    assert read - {"BROADCAST_REDIS_URL"} == {name for row in table for name in names(row[0])}


def test_every_command_is_in_the_table() -> None:
    ours = {name for name, app in get_commands().items() if app == "broadcast"}
    commands, _, _ = page("reference/commands").partition("\n## ")
    assert ours == {row[0].strip("`").split()[0] for row in rows(commands)}


def test_every_option_of_the_server_is_in_the_tables() -> None:
    def options(parser: ArgumentParser) -> set[str]:
        named = (one for one in parser._actions if one.help != SUPPRESS)
        return {name for one in named for name in one.option_strings}

    ours = load_command_class("broadcast", "serve").create_parser("manage.py", "serve")
    theirs = BaseCommand().create_parser("manage.py", "")
    text = page("reference/commands")
    commands, _, _ = text.partition("\n## ")
    (row,) = (one for one in rows(commands) if one[0].startswith("`serve "))
    assert set(re.findall(r"--[\w-]+", row[0])) == options(ours) - options(theirs)
    where, _ = tables(section(text, "Where the server listens"))
    told = {name for cell, _ in where for name in re.findall(r"--[\w-]+", cell)}
    assert told == options(ours) - options(theirs) - {"--workers"}


# -- errors, checks, metrics ----------------------------------------------------------------


def test_every_close_code_is_in_the_table() -> None:
    table = rows(section(page("reference/errors"), "Close codes"))
    assert [(int(code), name) for code, name, _ in table] == [
        (code.value, code.name) for code in CloseCode
    ]


def test_every_exception_is_in_the_table_with_its_code_and_status() -> None:
    errors = [one for one in vars(exceptions).values() if isclass(one)]
    errors = [one for one in errors if issubclass(one, BroadcastError) and one != BroadcastError]
    table = rows(section(page("reference/errors"), "Exceptions"))
    assert [(names(name).pop(), code, status) for name, _, code, status in table] == [
        # Its socket stays open.
        (one.__name__, "–" if one is RoomError else f"{one.close_code}", f"{one.http_status}")
        for one in errors
    ]


def test_the_documented_tree_of_exceptions_is_the_one_there_is() -> None:
    assert exceptions.__doc__
    lines = re.findall(
        r"^    [│ ]*[├└]── (\w+) .* (\d+|\(stays\)) +(\d+)$", exceptions.__doc__, re.M
    )
    table = rows(section(page("reference/errors"), "Exceptions"))
    assert [(name, code.replace("(stays)", "–"), status) for name, code, status in lines] == [
        (names(name).pop(), code, status) for name, _, code, status in table
    ]


def test_every_system_check_is_in_the_table_in_the_words_of_its_package() -> None:
    assert checks.__doc__
    lines = re.findall(r"^    (broadcast\.\w+)  (.*(?:\n {20}.*)?)$", checks.__doc__, re.M)
    told = {name: " ".join(words.split()) for name, words in lines}
    table = {
        name.strip("`"): (words, deploy) for name, words, deploy in rows(page("reference/checks"))
    }
    assert told.keys() == table.keys()
    for name, (words, deploy) in table.items():
        assert told[name].startswith(words.partition(" (")[0]), name
        assert ("--deploy" in told[name]) == bool(deploy), name


def test_every_system_check_there_is_has_a_row() -> None:
    code = "".join(path.read_text() for path in (ROOT / "broadcast" / "checks").glob("[a-z]*.py"))
    assert {f"`{name}`" for name in re.findall(r'id="(broadcast\.\w+)"', code)} == {
        row[0] for row in rows(page("reference/checks"))
    }


def test_every_metric_is_in_the_table_with_its_words() -> None:
    found = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
    assert len(found) > 20
    table = [row for row in rows(page("reference/metrics")) if len(row) == 4]
    assert [tuple(row) for row in table] == [
        (
            f"`{one._name}{'_total' if one._type == 'counter' else ''}`",
            one._type,
            ", ".join(f"`{label}`" for label in one._labelnames),
            one._documentation,
        )
        for one in found
    ]


# -- in code --------------------------------------------------------------------------------


def test_every_name_of_the_package_is_in_the_reference() -> None:
    text = page("reference/python")
    for name in [*broadcast.__all__, *testing.__all__]:
        if name != "Captured":
            assert re.search(rf"\b{name}\b", text), name


def test_publish_is_in_the_reference_with_all_its_arguments() -> None:
    shown = re.search(r"`publish\((.*?)\)`", page("reference/python"))
    assert shown
    names = {}
    exec(f"def shown({shown[1]}): pass", names)
    parameters, ours = (signature(one).parameters for one in (names["shown"], publish))
    assert list(parameters) == list(ours)
    for name, one in parameters.items():
        assert (one.kind, one.default) == (ours[name].kind, ours[name].default)


def test_every_method_of_a_pages_socket_is_in_the_reference() -> None:
    public = {name for name in vars(PageSocket) if not name.startswith("_")}
    text = section(page("reference/python"), "`request.socket`")
    # For Broadcast itself.
    assert public - {"akey", "key", "session", "user"} <= names(text)


def test_every_template_tag_is_in_the_table() -> None:
    library: Library = tags.register
    table = rows(page("reference/templates"))
    assert {re.findall(r"{% (\w+)", row[0])[0] for row in table} == set(library.tags)


def test_every_method_of_messagepack_rpc_is_in_the_table() -> None:
    table = rows(section(page("reference/rpc"), "Methods"))
    assert {name for row in table for name in names(row[0])} == set(METHODS)


def test_every_call_of_the_http_api_is_in_the_table() -> None:
    described = schema.paths().items()
    calls = {
        (method.upper(), path.replace("{", "<").replace("}", ">"))
        for path, operations in described
        for method in operations
        if method != "parameters"
    }
    first, *_ = tables(page("reference/http"))
    found = {
        (method, path)
        for cell, _ in first
        for method in re.findall(r"`([A-Z]+) ", cell)
        for path in re.findall(r"/api/[\w/<>]*", cell)
    }
    assert calls == found


# -- on the wire ----------------------------------------------------------------------------


def told_by(*paths: str) -> set[str]:
    """The events that these modules of broadcast/, or folders of them, make."""
    files = [path for one in paths for path in (ROOT / "broadcast").glob(one)]
    assert files
    code = "".join(path.read_text() for path in files)
    found = re.findall(r'(?:(?:\bevent|_tell_newest)\(\s*|"event": ?)"(\w+)"', code)
    return {*found, *re.findall(r'\bevent\("\w+" if .* else "(\w+)"\)', code)}


def events_in(text: str) -> set[str]:
    return set(re.findall(r'"event":"(\w+)"', "".join("|".join(row) for row in rows(text))))


def test_every_event_of_streams_is_in_the_tables() -> None:
    told = told_by("hub/*.py", "wire/frames.py", "streams/*er.py", "consumers.py")
    assert {"joined", "skipped", "accepted"} < told
    assert told - events_in(page("reference/websocket")) == set()


def test_every_event_of_an_event_stream_is_in_the_table() -> None:
    told = told_by("hub/*.py", "wire/sse.py", "api/events.py")
    table = rows(section(page("reference/http"), "Server-Sent Events"))
    named = {name for row in table for name in names(row[0])}
    assert told | {"binary"} == named - {"message"}


def test_every_event_of_rooms_is_in_the_tables() -> None:
    text = page("reference/rooms")
    client, server = tables(text)[:2]
    assert events_of(client, 0) == {*EVENTS}
    assert events_of(server, 0) == told_by("rooms/messages.py", "rooms/signaling.py")


def test_every_error_of_rooms_is_in_the_table() -> None:
    files = [*(ROOT / "broadcast" / "rooms").glob("*.py"), ROOT / "broadcast/backends/rooms.py"]
    code = "".join(path.read_text() for path in files)
    constants = dict(re.findall(r'^([A-Z_]+) = "([a-z ,]+)"$', code, re.M))
    raised = re.findall(r"RoomError\(([A-Z_]+)\)", code)
    texts = {*re.findall(r'RoomError\("(.*?)"\)', code), *(constants[one] for one in raised)}
    table = rows(section(page("reference/rooms"), "Errors"))
    named = {text for row in table for text in re.findall("`(.*?)`", row[0])}
    assert texts - named == set()
    assert named - texts <= set(constants.values())


def events_of(table: list[list[str]], column: int) -> set[str]:
    return {re.findall(r'"event":"(\w+)"', row[column])[0] for row in table}


# -- in pages -------------------------------------------------------------------------------

ELEMENT = "The element `<broadcast-listener>`"


def test_every_attribute_of_the_element_is_in_the_table() -> None:
    code = (STATIC / "element" / "element.js").read_text()
    lists = re.findall(r"^const (?:TEXTS|NUMBERS|SWITCHES) = (.*);$", code, re.M)
    assert len(lists) == 3
    attributes = set(re.findall(r'"(\w+)"|(\w+):', "".join(lists)))
    table = tables(section(page("reference/elements"), ELEMENT))[0]
    assert {one or other for one, other in attributes} == {names(row[0]).pop() for row in table}


def test_every_event_of_the_element_is_in_the_table() -> None:
    code = (STATIC / "element" / "element.js").read_text()
    table = tables(section(page("reference/elements"), ELEMENT))[1]
    assert set(re.findall(r'#emit\("(\w+)"', code)) == {names(row[0]).pop() for row in table}


def test_every_attribute_of_pages_is_in_the_table() -> None:
    code = "".join(path.read_text() for path in (STATIC / "page").glob("*.js"))
    table = rows(section(page("reference/elements"), "Attributes of a page with a socket"))
    # Of a template, where it is as in the element.
    found = set(re.findall(r"data-[a-z-]+", code)) - {"data-text"}
    assert found == {name for row in table for name in names(row[0])}


def test_every_public_module_is_in_the_table() -> None:
    text = page("reference/elements")
    for path in STATIC.glob("*.js"):
        # The page of a room is nothing to import.
        if path.name != "rooms.js":
            assert path.name in text, path.name
    for module, exported in rows(section(text, "Other modules")):
        assert names(exported).pop() in (STATIC / module.strip("`")).read_text()


def tables(text: str) -> list[list[list[str]]]:
    return [rows(part) for part in text.split("\n\n") if part.startswith("|")]
