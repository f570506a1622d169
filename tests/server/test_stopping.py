"""SIGTERM under load: every request that was accepted is answered."""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

from tests.patience import HANGING_S
from tests.server.releases import BEHIND_TLS, PRODUCTION
from tests.server.service import PROJECT, Service, release_environment

CLIENTS = 24  # thrice as many as the two workers' threads: some requests wait inside the server
SLOW_VIEW = """

def slow(request):
    import time
    from django.http import HttpResponse
    time.sleep(0.3)
    return HttpResponse("done")


urlpatterns.append(path("slow/", slow))
"""


class Client(threading.Thread):
    """Sends one request after the other on one connection, as a load balancer does, until told to start no more."""

    def __init__(self, port: int, out_of_the_load_balancer: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.out_of_the_load_balancer = out_of_the_load_balancer
        self.in_flight = False
        self.answers: list[int] = []
        self.failure = ""

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANGING_S)
        try:
            while not self.out_of_the_load_balancer.is_set():
                connection.request("GET", "/slow/", headers=BEHIND_TLS)
                self.in_flight = True
                response = connection.getresponse()
                assert response.read() == b"done"
                self.in_flight = False
                self.answers.append(response.status)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            self.failure = f"{type(error).__name__}: {error}"
        finally:
            connection.close()


def test_every_request_accepted_before_sigterm_is_answered(
    migrated_url: str, production_release: Path, tmp_path: Path
) -> None:
    tree = shutil.copytree(production_release, tmp_path / "slow")
    with (tree / "rupaya" / "urls.py").open("a") as urls:
        urls.write(SLOW_VIEW)
    with Service(tree, **PRODUCTION | {"WEB_CONCURRENCY": "2"}, DATABASE_URL=migrated_url) as service:
        service.wait_until_ready()
        out = threading.Event()
        clients = [Client(service.port, out) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + HANGING_S
        while not all(client.in_flight and client.answers for client in clients):
            assert time.monotonic() < deadline, [client.failure for client in clients]
            time.sleep(0.001)

        out.set()  # ECS takes the task out of the load balancer before it sends the signal
        service.signal(signal.SIGTERM)
        for client in clients:
            client.join(HANGING_S)

        assert [client.failure for client in clients if client.failure] == []
        assert {status for client in clients for status in client.answers} == {200}
        assert service.process.wait(20) == 0
        assert "Traceback" not in service.output
        assert not service.port_is_open()


def test_the_server_is_set_up_as_a_load_balancer_and_ecs_need_it(migrated_url: str) -> None:
    """The load balancer closes idle connections after 60 s; ECS kills 30 s after SIGTERM."""
    shown = subprocess.run(
        ["gunicorn", "--print-config", "--check-config", "rupaya.wsgi"],
        cwd=PROJECT,
        env=release_environment(PROJECT, **PRODUCTION, DATABASE_URL=migrated_url, TRUSTED_PROXIES="10.0.0.0/16"),
        capture_output=True,
        text=True,
        timeout=HANGING_S,
        check=True,
    ).stdout
    config = dict(re.findall(r"^(\w+) += (.*)$", shown, re.MULTILINE))

    assert (config["worker_class"], config["threads"], config["preload_app"]) == (
        "rupaya.worker.Worker",
        "4",
        "True",
    )
    assert config["control_socket_disable"] == "True"
    assert int(config["keepalive"]) > 60
    assert int(config["graceful_timeout"]) < 30
    assert 0 < int(config["max_requests_jitter"]) < int(config["max_requests"])
    assert config["worker_tmp_dir"] == "/dev/shm"
    assert config["forwarded_allow_ips"] == "['10.0.0.0/16']"
