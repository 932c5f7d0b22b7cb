"""Run many schedules of `turns_model`: `python -m tests.rig.turns_schedules FIRST LAST`."""

import logging
import os
import sys

import django


def main(first: int, last: int) -> None:
    """All schedules from `first` up to `last`; each that shows a fault is printed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    # No database is asked.
    os.environ.setdefault("BROADCAST_PREFIX", "tests")
    django.setup()
    logging.disable()
    from tests.rig.turns_model import run

    faults = 0
    for seed in range(first, last):
        try:
            run(seed)
        except AssertionError as error:
            faults += 1
            print(error, flush=True)
        if seed % 10_000 == 0:
            print(f"{seed - first} schedules, {faults} faults", flush=True)
    print(f"{last - first} schedules, {faults} faults", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
