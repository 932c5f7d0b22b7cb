"""What operators see: health, metrics, live figures, faults of the setup.

Questions come in from probes, scrapes and the admin's pages; answers go out within bounded time, in
words that name no address and no secret. It costs what is asked for, not what is connected.
"""
