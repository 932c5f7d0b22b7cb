"""What a server's `/metrics` says, as tests read it."""

from collections import defaultdict
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.rig.processes import PATIENCE, ServerProcess


class Answer(NamedTuple):
    status: int
    content_type: str
    body: str


def get(process: ServerProcess, path: str, **headers: str) -> Answer:
    """What a server answers, whatever the status is."""
    try:
        response = urlopen(Request(process.url + path, headers=headers), timeout=PATIENCE)
    except HTTPError as error:
        response = error
    with response:
        return Answer(response.status, response.headers["Content-Type"], response.read().decode())


class Figures(defaultdict[str, float]):
    """By name, and in braces the values of labels: `refusals_total{http,forbidden}`.

    Without the prefix of all names, and without buckets. What there is not is 0.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__(float)
        #: The names of those that never go backwards.
        self.counters: set[str] = set()
        for family in text_string_to_metric_families(text):
            for name, labels, value, *_ in family.samples:
                if "le" in labels or not name.startswith("broadcast_"):
                    continue
                key = name.removeprefix("broadcast_")
                key += "{" + ",".join(labels.values()) + "}" if labels else ""
                self[key] = value
                if family.type != "gauge":
                    self.counters.add(key)

    def since(self, before: "Figures", *names: str) -> dict[str, float]:
        """How much these grew since then; without names all that did."""
        names = names or tuple(sorted(self.counters))
        grown = {name: self[name] - before[name] for name in names}
        return {name: growth for name, growth in grown.items() if growth}


def scrape(process: ServerProcess) -> Figures:
    answer = get(process, "/metrics")
    assert answer.status == 200, answer
    return Figures(answer.body)
