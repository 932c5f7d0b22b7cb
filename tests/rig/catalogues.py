"""The catalogues of translations: what is in them, and what the sources want in them.

    DJANGO_SETTINGS_MODULE=project.settings python -m tests.rig.catalogues

brings them up to date: texts that are new come in, empty, and those that nobody says any more go.
Run it again when they are translated: it compiles them. It needs gettext.
"""

import ast
import gettext
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from django.core.management import call_command
from django.core.management.commands.makemessages import Command as MakeMessages

from tests.rig.processes import ROOT

#: Each catalogue's folder, and the folders whose texts are in it.
SOURCES = {
    "broadcast": ("broadcast", "templates/broadcast", "templates/admin/broadcast"),
    "project": ("project", "templates"),
}
#: What the folders above have that is another catalogue's.
OTHERS = {"project": ("templates/broadcast", "templates/admin/broadcast")}
DATED = ('"POT-Creation-Date', '"Report-Msgid-Bugs-To')
CATALOGUES = sorted(ROOT.glob("*/locale/*/LC_MESSAGES/django.po"))


class Message(NamedTuple):
    """What makes a text one of its own."""

    context: str
    english: str
    plural: str


class Entry(NamedTuple):
    message: Message
    #: The translations: one, or one for each plural form.
    forms: tuple[str, ...]
    flags: frozenset[str]


def read(path: Path) -> list[Entry]:
    """The entries of a `.po` file, without its head."""
    blocks = path.read_text().split("\n\n")
    return [entry for block in blocks if (entry := _entry_of(block)) and entry.message.english]


def _entry_of(block: str) -> Entry | None:
    values: dict[str, str] = {}
    flags: set[str] = set()
    name = ""
    for line in block.splitlines():
        if line.startswith("#,"):
            flags |= {flag.strip() for flag in line[2:].split(",")}
        elif line.startswith('"'):
            values[name] += ast.literal_eval(line)
        elif line and not line.startswith("#"):
            name, literal = line.split(" ", 1)
            values[name] = ast.literal_eval(literal)
    if "msgid" not in values:
        return None
    message = Message(*(values.get(name, "") for name in ("msgctxt", "msgid", "msgid_plural")))
    forms = tuple(value for name, value in values.items() if name.startswith("msgstr"))
    return Entry(message, forms, frozenset(flags))


def compiled(path: Path) -> dict[str | tuple[str, int], str]:
    """What is in the `.mo` file beside a `.po` file, as `catalogue` has it."""
    with path.with_suffix(".mo").open("rb") as file:
        found = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return {key: value for key, value in found.items() if key}


def catalogue(entries: list[Entry]) -> dict[str | tuple[str, int], str]:
    """The entries as Python's gettext keeps them."""
    found: dict[str | tuple[str, int], str] = {}
    for (context, english, plural), forms, _ in entries:
        key = f"{context}\x04{english}" if context else english
        if plural:
            found |= {(key, number): form for number, form in enumerate(forms)}
        else:
            found[key] = forms[0]
    return found


def wanted(name: str, language: str) -> set[Message]:
    """The texts of the sources of a catalogue."""
    with _updated(name, language) as path:
        return {entry.message for entry in read(path)}


@contextmanager
def _updated(name: str, language: str) -> Iterator[Path]:
    """A copy of the catalogue, brought up to date."""
    with tempfile.TemporaryDirectory() as folder:
        left_out = [ROOT / other for other in OTHERS.get(name, ())]

        def others(at: str, names: list[str]) -> set[str]:
            return {one for one in names if Path(at, one) in left_out}

        for source in SOURCES[name]:
            shutil.copytree(ROOT / source, Path(folder, source), ignore=others)
        Path(folder, "locale").symlink_to(Path(folder, name, "locale"))
        before = Path.cwd()
        os.chdir(folder)
        try:
            options = {"no_wrap": True, "add_location": "file", "no_obsolete": True, "verbosity": 0}
            call_command(_MakeMessages(), locale=[language], **options)
        finally:
            os.chdir(before)
        yield Path(folder, name, "locale", language, "LC_MESSAGES", "django.po")


class _MakeMessages(MakeMessages):
    # A guess would have to be looked for.
    msgmerge_options = [*MakeMessages.msgmerge_options, "--no-fuzzy-matching"]


def update(path: Path) -> None:
    with _updated(path.parts[-5], path.parts[-3]) as new:
        lines = new.read_text().splitlines(keepends=True)
    # When it was made, its history knows.
    path.write_text("".join(line for line in lines if not line.startswith(DATED)))
    subprocess.run(["msgfmt", "--check-format", "-o", path.with_suffix(".mo"), path], check=True)


if __name__ == "__main__":
    for one in CATALOGUES:
        update(one)
        missing = sum(not all(entry.forms) for entry in read(one))
        sys.stdout.write(f"{one.relative_to(ROOT)}: {missing} to be translated\n")
