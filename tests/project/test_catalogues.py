"""The catalogues of translations are complete, and say what they are to say."""

import gettext
import re
from pathlib import Path

import django
import pytest

from tests.rig import catalogues
from tests.rig.processes import ROOT

#: The places of values and the markup of a text: a translation has them, too.
PLACE = re.compile(r"%\(\w+\)[sd]|%[sd]|</?[a-z]+[^>]*>")

all_catalogues = pytest.mark.parametrize(
    "path", catalogues.CATALOGUES, ids=lambda path: str(path.relative_to(ROOT))
)


def test_package_and_project_have_a_catalogue() -> None:
    assert [path.parts[-5] for path in catalogues.CATALOGUES] == ["broadcast", "project"]


@all_catalogues
def test_every_text_is_translated_and_none_by_a_guess(path: Path) -> None:
    entries = catalogues.read(path)
    assert entries
    assert [
        entry.message for entry in entries if not all(form.strip() for form in entry.forms)
    ] == []
    assert [entry.message for entry in entries if "fuzzy" in entry.flags] == []


@all_catalogues
def test_translations_have_the_values_and_the_markup_of_the_texts(path: Path) -> None:
    for message, forms, _ in catalogues.read(path):
        for form in forms:
            assert sorted(PLACE.findall(form)) == sorted(PLACE.findall(message.english)), message


@all_catalogues
def test_the_compiled_catalogue_is_that_of_the_texts(path: Path) -> None:
    assert catalogues.compiled(path) == catalogues.catalogue(catalogues.read(path))


@all_catalogues
def test_the_catalogue_has_the_texts_of_the_sources_and_no_others(path: Path) -> None:
    has = {entry.message for entry in catalogues.read(path)}
    wanted = catalogues.wanted(path.parts[-5], path.parts[-3])
    assert wanted - has == set()
    assert has - wanted == set()


@all_catalogues
def test_nothing_of_django_is_said_in_another_way(path: Path) -> None:
    """The texts of all applications are one catalogue: ours would stand on other pages, too."""
    ours = catalogues.compiled(path)
    language = path.parts[-3]
    for other in Path(django.__file__).parent.glob(f"**/locale/{language}/LC_MESSAGES/django.mo"):
        with other.open("rb") as file:
            theirs = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        both = [key for key in ours if key and key in theirs]
        assert {key: ours[key] for key in both} == {key: theirs[key] for key in both}
