"""Ways to a Redis: TLS with an authority of one's own, and sockets of this machine."""

import asyncio
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from redis import Redis

from broadcast import publish
from broadcast.backends.redis import RedisBackend
from broadcast.backends.redis_faults import CERTIFICATE, NO_FILE, SILENT, Fault
from broadcast.backends.redis_urls import layer_host
from broadcast.exceptions import Unavailable
from broadcast.hub import bus
from broadcast.monitor.faults import find_faults
from tests.rig.backends import append, kept, use_redis
from tests.rig.doors import eventually
from tests.rig.processes import RedisProcess, free_port
from tests.rig.stand_ins import SentinelProcess


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the authority `ca.pem`, `server.pem` that it signed, and `other.pem`."""
    directory = tmp_path_factory.mktemp("certificates")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name in ("ca", "other"):
        own = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
        openssl(directory, "req", "-x509", *key, *own)
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=redis")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE")
    own = ("-keyout", "server.key", "-out", "server.pem")
    openssl(directory, "req", "-x509", *key, *own, *signed, *names)
    return directory


def tls(certificates: Path, port: int) -> dict[str, str]:
    """Options of a Redis or a sentinel that speaks TLS at `port`, too."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificates / "server.pem"),
        "tls-key-file": str(certificates / "server.key"),
        "tls-ca-cert-file": str(certificates / "ca.pem"),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }


@pytest.fixture
def port(tmp_path: Path, certificates: Path) -> Iterator[int]:
    """Where a Redis speaks TLS."""
    port = free_port()
    options = [
        part for name, value in tls(certificates, port).items() for part in (f"--{name}", value)
    ]
    with RedisProcess(tmp_path, *options):
        yield port


async def assert_works(settings: Any, url: str) -> None:
    """All that is ever asked of backend and channel layer can be done there."""
    use_redis(settings, url)
    assert await find_faults() == []
    backend = RedisBackend()
    await append(backend, "one", "two")
    assert await kept(backend) == ["one", "two"]
    await backend.aclose()


async def test_over_tls_with_an_authority_of_ones_own(
    settings: Any, port: int, certificates: Path
) -> None:
    ca = certificates / "ca.pem"
    await assert_works(settings, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca}")


@pytest.mark.parametrize(
    ("url", "fault", "said"),
    [
        ("rediss://127.0.0.1:{port}/0", CERTIFICATE, "certificate verify failed"),
        ("rediss://127.0.0.1:{port}/0?ssl_ca_certs={path}/other.pem", CERTIFICATE, "verify failed"),
        ("rediss://localhost:{port}/0?ssl_ca_certs={path}/ca.pem", CERTIFICATE, "verify failed"),
        ("rediss://127.0.0.1:{port}/0?ssl_ca_certs={path}/nothing.pem", NO_FILE, "No such file"),
        ("redis://127.0.0.1:{port}/0", SILENT, "Connection"),
    ],
)
async def test_whoever_cannot_be_trusted_is_told_nothing(
    settings: Any,
    port: int,
    certificates: Path,
    caplog: pytest.LogCaptureFixture,
    url: str,
    fault: Fault,
    said: str,
) -> None:
    use_redis(settings, url.format(port=port, path=certificates))
    backend = RedisBackend()
    # No server starts where a person has to change something.
    with pytest.raises(ImproperlyConfigured if fault.lasts else Unavailable, match=fault.words):
        await backend.check()
    with pytest.raises(Unavailable, match=fault.words):
        await append(backend, "x")
    # With the next attempt, which nobody waits for.
    await eventually(lambda: asyncio.sleep(0, bool(caplog.records)))
    await backend.aclose()
    (record,) = caplog.records
    how = "cannot be used" if fault.lasts else "does not answer"
    assert f":{port} {how}: " in record.getMessage() and said in record.getMessage()


async def test_a_unix_socket_that_is_not_there_may_come(settings: Any, tmp_path: Path) -> None:
    use_redis(settings, f"unix://{tmp_path}/a:1.sock?db=0")
    with pytest.raises(Unavailable, match=SILENT.words):
        await RedisBackend().check()


async def test_over_tls_to_sentinels_and_the_master(
    settings: Any, port: int, certificates: Path, tmp_path: Path
) -> None:
    own = free_port()
    sentinel = SentinelProcess(tmp_path, free_port())
    options = [f"{name} {value}" for name, value in tls(certificates, own).items()]
    lines = [f"port {sentinel.port}", *options, f"sentinel monitor main 127.0.0.1 {port} 1"]
    sentinel.start(lines)
    try:
        ca = certificates / "ca.pem"
        await assert_works(settings, f"rediss+sentinel://127.0.0.1:{own}/main?ssl_ca_certs={ca}")
    finally:
        sentinel.kill()


async def test_over_a_socket_of_this_machine(settings: Any, tmp_path: Path) -> None:
    path = tmp_path / "a redis.sock"
    with RedisProcess(tmp_path, "--unixsocket", str(path), password="a/b") as redis:
        url = f"unix://:a%2Fb@{tmp_path}/a%20redis.sock?db=3"
        await assert_works(settings, url)
        assert "db3" in redis.command("INFO", "keyspace")
        backend = RedisBackend()
        with redis.away(), pytest.raises(Unavailable):
            await append(backend, "lost")
        await backend.aclose()


async def test_with_the_other_layer_of_channels_redis(settings: Any, tmp_path: Path) -> None:
    with RedisProcess(tmp_path) as redis:
        use_redis(settings, redis.url)
        other = "channels_redis.core.RedisChannelLayer"
        hosts = [layer_host(redis.url)]
        settings.CHANNEL_LAYERS = {"broadcast": {"BACKEND": other, "CONFIG": {"hosts": hosts}}}
        assert await find_faults() == []


async def test_who_asks_for_what_is_not_there_is_not_taken_for_silent(tmp_path: Path) -> None:
    with RedisProcess(tmp_path) as redis:
        host = layer_host(f"{redis.url}?health_check_interval=1")
        connection = host.pop("connection_class")(**host)
        await connection.connect()
        for timeout, is_silent in ((None, False), (0.01, True), (None, False)):
            if timeout is None:
                await connection.send_command("GET", "nothing")
            assert await connection.read_response(timeout=timeout) is None
            assert bool(connection.silent_since) == is_silent
        await connection.disconnect()


async def test_a_server_that_repeats_a_password_is_not_quoted(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "_layer_failed", False)
    with RedisProcess(tmp_path, "--rename-command", "AUTH", "LOGIN") as redis:
        use_redis(settings, f"redis://:open%2Fsesame@127.0.0.1:{redis.port}/0")
        backend = RedisBackend()
        for work in (backend.check(), append(backend, "x"), find_faults()):
            with pytest.raises((ImproperlyConfigured, Unavailable)) as error:
                await work
            said = "".join(traceback.format_exception(error.value))
            assert "sesame" not in said
        await bus.atell_everybody(bus.SessionEnded("x"))
        await backend.aclose()
    assert "with args beginning with: '***'" in caplog.text
    assert "The channel layer takes no messages" in caplog.text
    assert "sesame" not in caplog.text


def test_publishing_in_sync_code_leaves_no_connection_behind(
    settings: Any, db: None, tmp_path: Path
) -> None:
    sentinel = SentinelProcess(tmp_path, free_port())
    with RedisProcess(tmp_path) as redis:
        sentinel.start([f"port {sentinel.port}", f"sentinel monitor main 127.0.0.1 {redis.port} 1"])
        use_redis(settings, f"redis+sentinel://127.0.0.1:{sentinel.port}/main")
        for number in range(1, 6):
            assert publish("s", "x").offset == number
        for port in (redis.port, sentinel.port):
            with Redis(port=port) as client:
                # Beside the sentinel's own there is the one that asks.
                names = [one["name"] for one in client.client_list()]
                assert [name for name in names if not name.startswith("sentinel-")] == [""]
        sentinel.kill()
