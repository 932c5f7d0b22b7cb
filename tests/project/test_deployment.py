"""The how-tos of running it: units, images, pods, addresses and commands are sound."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from django.core.management import call_command, get_commands, load_command_class
from django.urls import include, resolve
from django.urls import path as url

from broadcast.access.addresses import Proxies, ProxyMiddleware
from broadcast.backends.redis_urls import address_of, split
from broadcast.server.binding import parse
from tests.rig.documents import DOCS, DOCUMENTS, all_blocks, blocks, page
from tests.rig.health import READY
from tests.rig.launcher import ROOT
from tests.rig.processes import ServerProcess, free_port, wait_until_it_answers

Variables = dict[str, str]


def exported(text: str) -> Variables:
    return dict(re.findall(r"^(?:export )?([A-Z_]+)='?([^\s']+)'?$", text, re.M))


def compose() -> dict[str, Any]:
    (text,) = blocks(page("how-to/docker"), "yaml")
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def kubernetes() -> list[dict[str, Any]]:
    (text,) = blocks(page("how-to/kubernetes"), "yaml")
    return list(yaml.safe_load_all(text))


# -- environments ---------------------------------------------------------------------------


def test_every_environment_is_that_of_production() -> None:
    production = exported(blocks(page("how-to/deploy"), "sh")[0])
    file, *_ = blocks(page("how-to/systemd"), "ini")
    assert exported(file) == production
    assert compose()["web"]["environment"].keys() == production.keys()
    deployment, _, _ = kubernetes()
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    secret = {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"}
    assert {one["name"] for one in container["env"]} | secret == production.keys()


def test_the_documented_proxies_are_taken(settings: Any) -> None:
    (line,) = blocks(page("how-to/proxies"), "sh")
    (lines,) = blocks(page("how-to/proxies"), "python")
    names: dict[str, Any] = {}
    exec(lines, names)
    assert names["BROADCAST_PROXIES"] == exported(line)["BROADCAST_PROXIES"].split(",")
    settings.BROADCAST_PROXIES = exported(line)["BROADCAST_PROXIES"].split(",")
    call_command("check", fail_level="WARNING")
    asked: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        asked.update(scope)

    headers = [(b"x-forwarded-for", b"203.0.113.7")]
    scope = {"type": "http", "client": ["2001:db8::5", 1], "headers": headers, "path": "/"}
    run(ProxyMiddleware(application)(scope, None, None))
    assert asked["client"][0] == "203.0.113.7"


def run(coroutine: Any) -> None:
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.parametrize("name", ["how-to/sentinel", "how-to/managed-redis", "how-to/deploy"])
def test_the_addresses_of_redis_are_some(name: str) -> None:
    url = exported("".join(blocks(page(name), "sh")))["REDIS_URL"]
    for one in split(url):
        assert address_of(one)
    assert url.startswith("redis+sentinel:") == (name == "how-to/sentinel")
    assert url.startswith("rediss:") == (name == "how-to/managed-redis")


# -- commands -------------------------------------------------------------------------------


def lines() -> Iterator[str]:
    """The lines of all pages that call `manage.py`, and those of images, pods and units."""
    for path in DOCUMENTS:
        if path == DOCS / "tutorial.md":
            # Its test types all of it.
            continue
        for language, code in all_blocks(path.read_text()):
            if language in ("sh", "ini", "dockerfile"):
                yield from (line for line in code.splitlines() if "manage.py" in line)
    for document in kubernetes():
        if "template" in document["spec"]:
            (container,) = document["spec"]["template"]["spec"]["containers"]
            yield shlex.join(container["command"])


def calls() -> Iterator[list[str]]:
    """The arguments of our own commands, wherever a page calls them."""
    for line in lines():
        for call in line.split("manage.py ")[1:]:
            if get_commands().get(call.split()[0]) == "broadcast":
                yield shlex.split(re.split(r'&&|\||"\]|\)"| #', call)[0])


@pytest.mark.parametrize("call", list(calls()), ids=" ".join)
def test_every_command_is_one_with_these_arguments(call: list[str]) -> None:
    name, *arguments = call
    command = load_command_class(get_commands()[name], name)
    parser: ArgumentParser = command.create_parser("manage.py", name)
    parser.parse_args(arguments)


def test_uvicorn_serves_as_documented(tmp_path: Path) -> None:
    _, line = blocks(page("how-to/deploy"), "sh")
    program, *arguments = shlex.split(line)
    assert program == ".venv/bin/uvicorn"
    with ServerProcess("broadcast", tmp_path) as server:
        environment = {**server.environment, "BROADCAST_RPC_PORT": str(free_port())}
    port = free_port()
    process = subprocess.Popen(
        [shutil.which("uvicorn") or "", *arguments, "--port", str(port)],
        cwd=ROOT,
        env=environment,
    )
    try:
        wait_until_it_answers(port, process)
        wait_until_it_answers(int(environment["BROADCAST_RPC_PORT"]), process)
    finally:
        process.terminate()
        process.wait(30)


# -- files of other programs ----------------------------------------------------------------


def unit_of(text: str) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    return unit


def test_the_units_of_systemd_are_sound(tmp_path: Path) -> None:
    _, service, socket, needed = blocks(page("how-to/systemd"), "ini")
    unit = unit_of(service)
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert unit["Service"]["EnvironmentFile"] in page("how-to/systemd").split("```ini\n# ")[1]
    assert all(unit["Service"][name].startswith("/") for name in ("ExecStart", "ExecStartPre"))
    assert unit_of(socket).sections() == ["Unit", "Socket", "Install"]
    # It needs the unit that passes its sockets, and that systemd takes for its own by the name.
    names = [text.splitlines()[0].rpartition("/system/")[2] for text in (service, socket, needed)]
    assert names == ["broadcast.service", "broadcast.socket", "broadcast.service.d/socket.conf"]
    assert unit_of(needed)["Unit"]["Requires"] == names[1]
    if shutil.which("systemd-analyze"):
        # Paths of that machine are none of this one.
        service = service.replace("/srv/broadcast/.venv/bin/python", "/bin/true")
        service = re.sub(r"^(User|WorkingDirectory|EnvironmentFile)=.*\n", "", service, flags=re.M)
        for name, text in zip(names, (service, socket, needed), strict=True):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in names[:2])],
            capture_output=True,
            text=True,
            check=False,
        )
        about = [line for line in done.stderr.splitlines() if "broadcast" in line]
        assert about == []


def test_nginx_and_server_and_systemd_mean_the_same_unix_socket() -> None:
    _, upstream = blocks(page("how-to/nginx"), "nginx")
    (line,) = blocks(page("how-to/nginx"), "sh")
    _, _, socket, _ = blocks(page("how-to/systemd"), "ini")
    (path,) = re.findall(r"server (unix:\S+);", upstream)
    assert f"--bind {path}\n" in line and exported(line)["BROADCAST_PROXIES"] == "unix:"
    assert unit_of(socket)["Socket"]["ListenStream"] == path.removeprefix("unix:")
    assert parse(path) and "" in Proxies(["unix:"])


def test_the_nginx_site_is_whole() -> None:
    site, _ = blocks(page("how-to/nginx"), "nginx")
    code = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "''", re.sub(r"^ *#.*\n", "", site, flags=re.M))
    assert code.count("{") == code.count("}") == 5
    assert all(line.rstrip()[-1] in "{};" for line in code.splitlines() if line.strip())
    for header in ("Host", "Upgrade", "Connection", "X-Forwarded-For", "X-Forwarded-Proto"):
        assert re.search(rf"proxy_set_header {header} \S+;", site), header


def test_the_image_starts_commands_that_there_are() -> None:
    (text,) = blocks(page("how-to/docker"), "dockerfile")
    instructions = [line.split()[0] for line in text.splitlines() if not line.startswith("#")]
    assert instructions[0] == "FROM" and instructions[-1] == "CMD"
    (check,) = re.findall(r"^HEALTHCHECK CMD (.*)$", text, re.M)
    compile(json.loads(check)[2], "health check", "exec")
    shell, option, line = json.loads(text.splitlines()[-1].removeprefix("CMD "))
    assert (shell, option) == ("sh", "-c") and "exec python manage.py serve" in line
    volumes = {name.split(":")[0] for one in compose().values() for name in one["volumes"]}
    assert volumes == {"data", "db", "redis"}


def test_the_pods_ask_and_start_what_there_is() -> None:
    deployment, service, job = kubernetes()
    assert [one["kind"] for one in (deployment, service, job)] == ["Deployment", "Service", "Job"]
    pod = deployment["spec"]["template"]
    assert pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert pod["metadata"]["labels"] == service["spec"]["selector"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    for kind in ("startup", "liveness", "readiness"):
        asked = container[f"{kind}Probe"]["httpGet"]
        path, _, query = asked["path"].partition("?")
        assert resolve(path).url_name == "healthz"
        assert query == ("" if kind == "readiness" else "live")
        assert asked["port"] == port["name"]
        (host,) = asked["httpHeaders"]
        assert {"name": "ALLOWED_HOSTS", "value": host["value"]} in container["env"]


def test_kubectl_is_told_of_what_the_manifests_have() -> None:
    deployment, _, job = kubernetes()
    (commands,) = blocks(page("how-to/kubernetes"), "sh")
    assert f"delete job {job['metadata']['name']} " in commands
    assert commands.index(f"job/{job['metadata']['name']}\n") < commands.index("broadcast.yaml")
    assert f"exec --stdin --tty deploy/{deployment['metadata']['name']} -- python " in commands
    secrets = {
        container["envFrom"][0]["secretRef"]["name"]
        for one in (deployment, job)
        for container in one["spec"]["template"]["spec"]["containers"]
    }
    assert secrets == {*re.findall(r"create secret generic (\S+)", commands)}


def test_what_a_ready_server_answers_is_shown() -> None:
    (shown,) = blocks(page("how-to/monitor"), "json")
    assert json.loads(shown) == READY


def test_a_project_of_its_own_has_the_probes_as_documented() -> None:
    (lines,) = blocks(page("how-to/monitor"), "python")
    names: dict[str, Any] = {"urlpatterns": [], "path": url, "include": include}
    exec(lines, names)
    paths = ModuleType("probed_urls")
    paths.__dict__["urlpatterns"] = names["urlpatterns"]
    for asked in ("/healthz", "/metrics"):
        assert resolve(asked, paths)


def test_prometheus_asks_where_metrics_are() -> None:
    (text,) = blocks(page("how-to/monitor"), "yaml")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    # Where it looks unless it is told another path.
    assert job.get("metrics_path", "/metrics") == "/metrics"
    assert resolve("/metrics").url_name == "metrics"
    assert job["authorization"].get("type", "Bearer") == "Bearer"
