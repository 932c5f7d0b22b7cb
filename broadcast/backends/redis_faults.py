"""Why a Redis cannot be used, or not be trusted, in words that are fit for everybody.

The words of Redis or redis-py may name addresses, users and other things that Redis was sent; these
words name nothing. A fault that `lasts` goes away only when a person changes something: a server
that finds one at its start does not start.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .redis_errors import BusyLoadingError, RedisConnectionError

#: The oldest Redis that knows all we ask for (exclusive ranges of XRANGE).
OLDEST = (6, 2)


class Fault(NamedTuple):
    words: str
    lasts: bool = True


CLUSTER = Fault("Redis is in cluster mode, which cannot be used: name servers outside a cluster")
SENTINEL = Fault("this is a sentinel: its URL begins with redis+sentinel://")
REPLICA = Fault("Redis is a replica and takes no writes: name its master")
TOO_OLD = Fault("Redis is too old")
RIGHTS = Fault("the Redis user lacks rights to commands, keys or channels")
PASSWORD = Fault("Redis does not accept the user or the password")
CERTIFICATE = Fault("Redis has a certificate that is not trusted: name its CA in ssl_ca_certs")
NO_FILE = Fault("a file that the Redis URL names is not there")
DATABASE = Fault("Redis has no database of this number")
PROTECTED = Fault("Redis is in protected mode")
NO_MASTER = Fault("no sentinel knows the master, or accepts the password")
FULL = Fault("Redis is full", lasts=False)
DISK = Fault("Redis cannot save to its disk and takes no writes", lasts=False)
FEW_REPLICAS = Fault("Redis has too few replicas and takes no writes", lasts=False)
LOADING = Fault("Redis is loading its data", lasts=False)
SILENT = Fault("Redis does not answer", lasts=False)
REFUSED = Fault("Redis refused", lasts=False)

#: Faults by a pattern for the class name and the text of an error: redis-py takes some codes away,
#: and an older Redis puts the error of a script's command behind one of its own.
KNOWN = (
    (CLUSTER, r"CLUSTERDOWN|ClusterDown|\bMOVED\b|MovedError|CROSSSLOT|CrossSlot|in cluster mode"),
    (REPLICA, r"READONLY|ReadOnlyError"),
    (RIGHTS, r"NOPERM|NoPermission|ACL failure|has no permissions|No permissions|can't run this"),
    (PASSWORD, r"NOAUTH|WRONGPASS|Authentication"),
    (CERTIFICATE, r"CERTIFICATE_VERIFY_FAILED"),
    # ENOENT at a host and port. At the path of a Unix socket Redis may not have started.
    (NO_FILE, r"Error 2 connecting to [^/]*:\d+\."),
    (DATABASE, r"DB index"),
    (PROTECTED, r"protected mode"),
    (FULL, r"OOM\b|OutOfMemory"),
    (DISK, r"MISCONF"),
    (FEW_REPLICAS, r"NOREPLICAS"),
    (LOADING, r"LOADING|BusyLoading"),
)


class UnfitError(RedisConnectionError):
    """This Redis cannot be used as it is; the text says why, in words for the log."""

    def __init__(self, fault: Fault, more: str = "") -> None:
        super().__init__(f"{fault.words}: {more}" if more else fault.words)
        self.fault = fault


def fault_of(error: BaseException) -> Fault:
    """What is wrong, as far as `error` says it; else `REFUSED` or `SILENT`."""
    if isinstance(error, UnfitError):
        return error.fault
    # redis-py has one of its own in front of it.
    if getattr(error.__cause__, "hopeless", False):
        return NO_MASTER
    said = f"{type(error).__name__} {error}"
    for fault, pattern in KNOWN:
        if re.search(pattern, said):
            return fault
    return SILENT if isinstance(error, RedisConnectionError | OSError) else REFUSED


def explain(error: BaseException) -> str:
    """The fault, and how Redis says it: for the log, and for the person who starts a server."""
    words, said = fault_of(error).words, str(error).removesuffix(".")
    return said if said.startswith(words) else f"{words}: {said}"


def judge(info: Mapping[str, Any]) -> None:
    """Check that a server with this INFO can be used. UnfitError: it cannot, and why."""
    version = str(info.get("redis_version", "0.0"))
    if info.get("redis_mode") == "sentinel":
        raise UnfitError(SENTINEL)
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        least = ".".join(map(str, OLDEST))
        raise UnfitError(TOO_OLD, f"it is version {version}, and {least} is the least")
    if str(info.get("loading", "0")) != "0":
        # Until it has read its append-only file, it says that it keeps none.
        raise BusyLoadingError("it is loading its data")
    if info.get("redis_mode") == "cluster" or str(info.get("cluster_enabled", "0")) != "0":
        raise UnfitError(CLUSTER)
    if info.get("role") == "slave":
        raise UnfitError(REPLICA)


def remark_on(info: Mapping[str, Any]) -> str:
    """Why a server with this INFO cannot be trusted; "": it can."""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction" or not re.fullmatch("[a-z-]{1,40}", policy):
        return ""
    return (
        f"maxmemory-policy is {policy}: Redis may forget histories, rooms and who is there; "
        "noeviction does not"
    )
