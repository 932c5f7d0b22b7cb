"""The errors of redis-py; where it is not installed, errors of these names that nothing raises."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.exceptions import BusyLoadingError as BusyLoadingError
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import RedisError as RedisError
else:
    try:
        from redis.exceptions import BusyLoadingError, RedisError
        from redis.exceptions import ConnectionError as RedisConnectionError
    except ImportError:

        class RedisError(Exception):
            pass

        class RedisConnectionError(RedisError):
            pass

        class BusyLoadingError(RedisConnectionError):
            pass


__all__ = ["BusyLoadingError", "RedisConnectionError", "RedisError"]
