"""Counts how long workers are busy, across their processes, and shows it where Prometheus would look."""

import multiprocessing
import os
import time

from gunicorn.workers.sync import SyncWorker

WORKERS = int(os.environ["WORKERS"])
# By worker, in memory that they share: each writes to a place of its own.
busy = multiprocessing.RawArray("d", 256)


def when_ready(_server):
    if os.environ["SERVICE"] == "pool":
        return  # The pool of connections tells, not the workers.
    os.sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from app import serve_metrics

    serve_metrics(
        lambda: "# TYPE wsgi_workers_busy_seconds_total counter\n"
        f"wsgi_workers_busy_seconds_total {sum(busy)}\n"
        f"# TYPE wsgi_workers_max gauge\nwsgi_workers_max {WORKERS}\n"
    )


class CountedWorker(SyncWorker):
    """A worker is busy from when it takes a connection to when it lets go of it."""

    def handle(self, listener, client, address):
        began = time.perf_counter()
        try:
            super().handle(listener, client, address)
        finally:
            busy[self.age % len(busy)] += time.perf_counter() - began


worker_class = "gthread" if os.environ["SERVICE"] == "pool" else CountedWorker
