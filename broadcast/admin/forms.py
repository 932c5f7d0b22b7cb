"""Forms of the admin for actions on streams."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from ..exceptions import BadRequest
from ..http.words import words_of
from ..publications import decode_json
from ..tokens import Grant

HOUR, DAY = 3600, 86400


class PublishForm(forms.Form):
    message = forms.CharField(
        label=_("Message"),
        strip=False,
        widget=forms.Textarea({"rows": 6, "class": "vLargeTextField"}),
    )
    kind = forms.ChoiceField(
        label=_("As"),
        choices=[("text", _("text")), ("json", _("JSON"))],
        initial="text",
        widget=forms.RadioSelect,
    )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        # Browsers send what was typed with \r\n between the lines.
        text = cleaned.get("message", "").replace("\r\n", "\n")
        cleaned["payload"] = text
        if text and cleaned.get("kind") == "json":
            try:
                cleaned["payload"] = decode_json(text)
            except BadRequest as error:
                self.add_error("message", words_of(error))
        return cleaned


AGES = [
    (HOUR, _("an hour")),
    (DAY, _("a day")),
    (30 * DAY, _("30 days")),
    (365 * DAY, _("a year")),
]


class RoomTokenForm(forms.Form):
    max_age = forms.TypedChoiceField(label=_("For"), coerce=int, choices=AGES, initial=DAY)


class TokenForm(forms.Form):
    grant = forms.ChoiceField(
        label=_("Lets people who have it"),
        choices=[(Grant.LISTEN.value, _("listen")), (Grant.PUBLISH.value, _("publish"))],
        widget=forms.RadioSelect,
        initial=Grant.LISTEN.value,
    )
    max_age = forms.TypedChoiceField(label=_("For"), coerce=int, choices=AGES, initial=DAY)
