"""Three services with a limit that is known, as WSGI applications for gunicorn; what SERVICE says is served.

pool    asks PostgreSQL through psycopg's pool of four connections; the pool itself tells how long they were in use
work    sleeps and works in a worker of its own; gunicorn's configuration tells how long the workers were busy
costs   works only, each route for a known CPU time
"""

import http.server
import os
import random
import threading
import time

CONNECTIONS = 4
# CPU-seconds of a request, by the path.
COSTS = {"/": 0.001, "/item": 0.003, "/search": 0.010, "/checkout": 0.016}


def serve_metrics(page):
    """Serves `page()` in Prometheus' text format at METRICS_PORT, on a thread of its own."""

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["METRICS_PORT"])), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def work(seconds):
    """Works for so much CPU time, not time on the clock: neighbours must not change what it costs."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(50))


def pooled():
    import psycopg_pool

    pool = psycopg_pool.ConnectionPool(
        os.environ["DATABASE"], min_size=CONNECTIONS, max_size=CONNECTIONS, timeout=60, open=True
    )
    pool.wait()

    def metrics():
        stats = pool.get_stats()
        return (
            "# TYPE db_pool_usage_seconds_total counter\n"
            f"db_pool_usage_seconds_total {stats.get('usage_ms', 0) / 1e3}\n"
            f"# TYPE db_pool_max gauge\ndb_pool_max {stats['pool_max']}\n"
        )

    serve_metrics(metrics)

    def answer(_path):
        with pool.connection() as connection:
            held = 0.008 + random.expovariate(1 / 0.012)
            connection.execute("select pg_sleep(%s), count(*) from item where price < 50", (held,))

    return answer


def working():
    def answer(_path):
        time.sleep(0.01 + random.expovariate(1 / 0.010))
        work(0.003)

    return answer


def costing():
    return lambda path: work(COSTS.get(path, 0.0))


answer = None
# What was asked for last: of `costs`, whose one worker has one thread.
last_path = None


def begin():
    """In the worker, since a pool of connections must not be shared with its parent."""
    global answer
    answer = {"pool": pooled, "work": working, "costs": costing}[os.environ["SERVICE"]]()


def application(environ, start_response):
    global last_path
    last_path = environ["PATH_INFO"]
    answer(last_path)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
