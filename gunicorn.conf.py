"""The server's settings; gunicorn finds this file by itself.

It runs no system checks, so what production must not have is refused here.
"""

import logging
import signal
import sys
import threading

from rupaya import environment, logs
from rupaya.accesslog import ServerLogger
from rupaya.jsonline import JsonLines
from rupaya.listening import place_for_workers

# Until gunicorn has handlers of its own, which is once the code is loaded: Ctrl-C ends it, and not with a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

try:
    env = environment.load()
except environment.EnvironmentRefused as refused:
    refused.say()
    sys.exit(environment.EXIT_CODE_ENVIRONMENT_REFUSED)
if env.log_format == "json":
    JsonLines(env.release, env.task).take_uncaught_exceptions()
logging.captureWarnings(True)

wsgi_app = "rupaya.wsgi"
bind = f"[{env.bind_address}]:{env.port}" if ":" in env.bind_address else f"{env.bind_address}:{env.port}"
workers = env.web_concurrency
# gthread, but slow clients occupy no thread and probes have their own.
worker_class = "rupaya.worker.Worker"
threads = 4
# The code is loaded once, before the fork: less memory, and a fault in it ends the master, not each worker in turn.
preload_app = True
# A load balancer closes idle connections after 60 s; the server must be the one that waits longer, or requests that
# cross its closing are lost.
keepalive = 75
# ECS kills 30 s after SIGTERM.
graceful_timeout = 25
timeout = 60
max_requests = 10_000
max_requests_jitter = 1_000
# Heartbeats of workers must not wait for a disk.
worker_tmp_dir = place_for_workers()
control_socket_disable = True
# Of anybody else, what they say about the client is a claim; `rupaya.middleware` drops it.
forwarded_allow_ips = ",".join(env.trusted_proxies)
# By default a proxy that is believed may also say SCRIPT_NAME and PATH_INFO; nothing here is mounted anywhere else.
forwarder_headers = ""
accesslog = "-"
logger_class = ServerLogger
logconfig_dict = logs.logging_config(env)


def post_worker_init(worker: object) -> None:
    """Ask the database from the first moment: the first probe and the first page have an answer to read."""
    from rupaya.health.sampler import sampler
    from rupaya.story.state import read_ahead

    sampler.ensure_started()
    threading.Thread(target=read_ahead, name="read-ahead", daemon=True).start()
