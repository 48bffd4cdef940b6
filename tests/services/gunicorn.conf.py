"""Counts how long workers are busy, across their processes, and shows it where Prometheus would look.

Of `costs` it shows what requests cost instead, route by route, by the worker's own account of its CPU time.
"""

import multiprocessing
import os
import time

from gunicorn.workers.sync import SyncWorker

os.sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import app

SERVICE, WORKERS = os.environ["SERVICE"], int(os.environ["WORKERS"])
ROUTES = list(app.COSTS)
# By worker, in memory that they share: each writes to a place of its own.
busy = multiprocessing.RawArray("d", 256)
# By route, of the one worker that `costs` has: its requests, and their CPU-seconds.
requests, cpu = multiprocessing.RawArray("d", len(ROUTES)), multiprocessing.RawArray("d", len(ROUTES))


def when_ready(_server):
    if SERVICE == "pool":
        return  # The pool of connections tells, not the workers.
    app.serve_metrics(costs_page if SERVICE == "costs" else busy_page)


def post_worker_init(_worker):
    app.begin()


def busy_page():
    return (
        "# TYPE wsgi_workers_busy_seconds_total counter\n"
        f"wsgi_workers_busy_seconds_total {sum(busy)}\n"
        f"# TYPE wsgi_workers_max gauge\nwsgi_workers_max {WORKERS}\n"
    )


def costs_page():
    lines = ["# TYPE route_requests_total counter", "# TYPE route_cpu_seconds_total counter"]
    for index, route in enumerate(ROUTES):
        lines.append(f'route_requests_total{{route="{route}"}} {requests[index]}')
        lines.append(f'route_cpu_seconds_total{{route="{route}"}} {cpu[index]}')
    return "\n".join(lines) + "\n"


class CountedWorker(SyncWorker):
    """A worker is busy from when it takes a connection to when it lets go of it."""

    def handle(self, listener, client, address):
        began = time.perf_counter()
        try:
            super().handle(listener, client, address)
        finally:
            busy[self.age % len(busy)] += time.perf_counter() - began


class CostedWorker(SyncWorker):
    """What the worker used since the request before is what this one cost: waking up, taking it, answering it."""

    before = 0.0

    def handle(self, listener, client, address):
        super().handle(listener, client, address)
        now = time.thread_time()
        if app.last_path in ROUTES:
            index = ROUTES.index(app.last_path)
            requests[index] += 1
            cpu[index] += now - self.before
        self.before = now


worker_class = {"pool": "gthread", "costs": CostedWorker}.get(SERVICE, CountedWorker)
