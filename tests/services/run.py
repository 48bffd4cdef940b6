#!/usr/bin/env python3
"""Foretells the capacity of real services from levels below 70 % of it, then measures it.

    tests/services/run.py HIGHWATER WORK_FOLDER [SERVICE…]

Each service has a limit of its own: nginx before a pool of PHP workers, an endpoint with four connections to
PostgreSQL, Python workers behind gunicorn. What it carries at most is tried for some seconds, so that the levels can
be laid below it; `replay` holds five of them, `model` foretells, `capacity` measures; the table says how far the two
lie apart. Of `blind` nothing is observed: the model must say that it gives a lower bound only. `costs` keeps its own
account of the CPU time that the requests of each route took: their costs, and what a tripled checkout would carry,
are foretold and compared with the account, and with what is measured. Each line of the table ends with PASS or MISS.
Everything runs on loopback, on ports that the machine chooses. `make bench-services` installs what is needed.
"""

import datetime
import http.client
import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
HIGHWATER = os.path.abspath(sys.argv[1])
WORK = pathlib.Path(sys.argv[2]).resolve()
POSTGRES = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
# Levels as shares of the most that is carried, and how long each is held. An objective is broken a little below that
# most: all levels stay below 70 % of the capacity.
LEVELS, HOLD = (0.15, 0.27, 0.38, 0.49, 0.59), 26
MOST_LEVEL = 0.70
# Seconds and requests a second of the captures. They hold more than is ever replayed, even of a tripled route: copies of
# one request come close together, which is more of a burst than the levels below show.
SPAN, RATE = 60, 600.0
# Clients that ask without a pause, and for how long, to see what is carried at most.
CLIENTS, TRIAL = 24, 6


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise SystemExit(f"services: waited a minute in vain for {what}")


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def urgent():
    """Other work of the machine is not what is measured; without the right to say so, it goes on as it is."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass


class Process:
    """A child in a group of its own, that ends with the block."""

    def __init__(self, port, *command, **options):
        log = open(WORK / "processes.log", "ab")
        command = [str(word) for word in command]
        options.setdefault("preexec_fn", urgent)
        self.child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)
        until(f"port {port}", lambda: self.child.poll() is not None or listens(port))
        if self.child.poll() is not None:
            raise SystemExit(f"services: a process ended at once; see {WORK}/processes.log")

    def end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is None:
                os.killpg(self.child.pid, number)
                try:
                    self.child.wait(15)
                except subprocess.TimeoutExpired:
                    pass


def nginx_and_php():
    """nginx before six workers of PHP; PHP-FPM's own status page says how many are at work."""
    folder, port = WORK / "nginx", free_port()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o755)
    shutil.copy(HERE / "page.php", folder)
    user = "user = www-data\n" if os.getuid() == 0 else ""
    (folder / "fpm.conf").write_text(
        f"[global]\nerror_log = {folder}/fpm.log\ndaemonize = no\n[www]\n{user}"
        f"listen = {folder}/pool.sock\nlisten.mode = 0666\nlisten.backlog = 4096\n"
        "pm = static\npm.max_children = 6\n"
        f"pm.status_path = /status\npm.status_listen = {folder}/status.sock\n"
    )
    program = next(path for path in pathlib.Path("/usr/sbin").glob("php-fpm*"))
    fpm = subprocess.Popen([program, "-y", folder / "fpm.conf"], start_new_session=True, preexec_fn=urgent)
    until("php-fpm", lambda: (folder / "status.sock").exists() and (folder / "pool.sock").exists())
    os.chmod(folder / "status.sock", 0o666)
    script = f"fastcgi_param SCRIPT_FILENAME {folder}/page.php; fastcgi_param REQUEST_METHOD $request_method;"
    status = "fastcgi_param SCRIPT_NAME /status; fastcgi_param SCRIPT_FILENAME /status; fastcgi_param REQUEST_METHOD GET;"
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        "worker_processes 1; events { worker_connections 8192; }\n"
        f"http {{ access_log off; fastcgi_temp_path {folder}/f; client_body_temp_path {folder}/b;\n"
        f"proxy_temp_path {folder}/p; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096;\n"
        f"location = /status {{ fastcgi_pass unix:{folder}/status.sock; {status} fastcgi_param QUERY_STRING openmetrics; }}\n"
        f"location / {{ fastcgi_pass unix:{folder}/pool.sock; {script} }} }} }}\n"
    )
    nginx = Process(port, "nginx", "-c", folder / "nginx.conf", "-p", folder)
    page = f"http://127.0.0.1:{port}/status"
    return {
        "port": port,
        "observe": [f"prometheus={page},phpfpm_active_processes,phpfpm_total_processes"],
        "ends": [nginx.end, lambda: (os.killpg(fpm.pid, signal.SIGTERM), fpm.wait(15))],
    }


def gunicorn(service, workers, threads, **environment):
    port, metrics = free_port(), free_port()
    environment = dict(
        os.environ, SERVICE=service, WORKERS=str(workers), METRICS_PORT=str(metrics), PYTHONPATH=str(HERE), **environment
    )
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [WORK / "venv/bin/gunicorn", "-c", HERE / "gunicorn.conf.py", "-b", f"127.0.0.1:{port}"]
    command += ["--backlog", "4096", "-w", workers, "--threads", threads, "app:application"]
    process = Process(port, *command, env=environment)
    until("its metrics", lambda: listens(metrics))
    page = f"http://127.0.0.1:{metrics}/metrics"
    return {"port": port, "page": page, "pid": process.child.pid, "ends": [process.end]}


def postgres_pool():
    """Threads enough for all, and four connections to PostgreSQL for them."""
    folder, port = WORK / "postgres", free_port()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    initdb = as_user + [str(POSTGRES / "initdb"), "-D", str(folder / "data"), "-A", "trust", "-U", "postgres"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/tmp")
    database = Process(
        port, *as_user, POSTGRES / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-k", folder, "-p", port
    )
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    fill = "create table item as select n as id, (n * 37 % 100)::int as price from generate_series(1, 200) n"
    until("PostgreSQL", lambda: subprocess.run(["psql", url, "-qc", "select 1"], capture_output=True).returncode == 0)
    subprocess.run(["psql", url, "-qc", fill], check=True)
    service = gunicorn("pool", 1, 96, DATABASE=url)
    service["observe"] = [f"prometheus={service['page']}"]
    service["ends"].append(database.end)
    return service


def python_workers():
    service = gunicorn("work", 4, 1)
    service["observe"] = [f"prometheus={service['page']}", f"pid={service['pid']}"]
    return service


def blind():
    return gunicorn("work", 4, 1)


def python_costs():
    service = gunicorn("costs", 1, 1)
    service["observe"] = [f"pid={service['pid']}"]
    # One process, and one request after the other: more than one core is of no use to it.
    service["limit"] = ["cpu_cores=1"]
    return service


PAGE = [("GET", "/", 1.0)]
ROUTES = [("GET", "/", 0.45), ("GET", "/item", 0.30), ("GET", "/search", 0.15), ("POST", "/checkout", 0.10)]
# Start, routes, objective.
SERVICES = {
    "nginx": (nginx_and_php, PAGE, "p95<120ms,errors<1%"),
    "postgres": (postgres_pool, PAGE, "p95<120ms,errors<1%"),
    "wsgi": (python_workers, PAGE, "p95<120ms,errors<1%"),
    "blind": (blind, PAGE, "p95<120ms,errors<1%"),
    "costs": (python_costs, ROUTES, "p95<400ms,errors<1%"),
}


def capture_of(routes, name):
    """A capture of visitors that come by chance, each with one request on a connection of its own.

    What they want sways, as it does: now more of them search, now more of them buy. Not so far, nor for so long, that
    the work of a moment is more than can be done while its mean is well below: no lower level would show that.
    """
    chance, entries, at, number = random.Random(5), [], 0.0, 0
    began = datetime.datetime(2026, 11, 2, 12, tzinfo=datetime.timezone.utc)
    while (at := at + chance.expovariate(RATE)) < SPAN:
        shares = [share * (1 + 0.4 * math.sin(at * (1.9 + 0.5 * index))) for index, (*_, share) in enumerate(routes)]
        method, path, _ = chance.choices(routes, shares)[0]
        number += 1
        posted = {"postData": {"mimeType": "application/x-www-form-urlencoded", "text": "a=1"}} if method == "POST" else {}
        message = {"httpVersion": "HTTP/1.1", "cookies": [], "headersSize": -1, "bodySize": -1}
        request = dict(message, method=method, url=f"http://shop.example{path}", queryString=[], headers=[{"name": "Host", "value": "shop.example"}], **posted)
        content = {"size": 3, "mimeType": "text/plain", "text": "ok\n"}
        response = dict(message, status=200, statusText="OK", headers=[{"name": "Content-Type", "value": "text/plain"}], content=content, redirectURL="")
        entries.append({
            "startedDateTime": (began + datetime.timedelta(seconds=at)).isoformat(),
            "time": 5, "connection": str(number), "request": request, "response": response, "cache": {},
            "timings": {"send": 0, "wait": 5, "receive": 0},
        })
    har, capture = WORK / f"{name}.har", WORK / f"{name}.capture"
    har.write_text(json.dumps({"log": {"version": "1.2", "creator": {"name": "services", "version": "1"}, "entries": entries}}))
    capture.unlink(missing_ok=True)
    highwater("import", har, "--out", capture, "--mask", "none")
    return capture


class NotMeasured(Exception):
    """Why there is nothing to compare."""


def highwater(*words):
    command = [HIGHWATER, *[str(word) for word in words]]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=urgent)
    if done.returncode != 0:
        print(f"{' '.join(command)}\n{done.stdout}{done.stderr}", flush=True)
        raise NotMeasured(f"highwater {words[0]} ended with {done.returncode}")
    return done


def on_time(begin, *words):
    """A run in which the generator was late (exit 5) says nothing of the target: it is made again."""
    for _ in range(3):
        begin()
        done = subprocess.run([HIGHWATER, *[str(word) for word in words]], capture_output=True, text=True, preexec_fn=urgent)
        if done.returncode == 0:
            return done
        print(f"  highwater {words[0]} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        if done.returncode != 5:
            break
    raise NotMeasured(f"highwater {words[0]} ended with {done.returncode}")


def flags(name, values):
    return [word for value in values for word in (name, value)]


def most(service, routes):
    """Requests per second, when there is always another one; each on a connection of its own."""
    counted, begin = [0] * CLIENTS, time.monotonic() + 1

    def client(number):
        urgent()
        chance = random.Random(number)
        while (now := time.monotonic()) < begin + TRIAL:
            method, path, _ = chance.choices(routes, [share for *_, share in routes])[0]
            connection = http.client.HTTPConnection("127.0.0.1", service["port"], timeout=30)
            connection.request(method, path, "a=1" if method == "POST" else None)
            connection.getresponse().read()
            connection.close()
            counted[number] += now > begin

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    return sum(counted) / TRIAL


def foretold(name, service, capture, carried, objective, hold):
    """The model of levels below the limit."""
    stages = ",".join(f"={hold}s:{share * carried / RATE:.3f}x" for share in LEVELS)
    run = WORK / f"{name}.run"
    on_time(
        lambda: run.unlink(missing_ok=True),
        "replay", capture, "--target", f"http://127.0.0.1:{service['port']}", "--allow-unsafe", "--stages", stages,
        *flags("--observe", service.get("observe", [])), "--out", run,
    )
    return modeled(name, run, service, objective)


def modeled(name, run, service, objective, mix=()):
    out = WORK / f"{name}-model"
    limits = flags("--limit", service.get("limit", []))
    said = highwater("model", run, "--slo", objective, *limits, *flags("--mix", mix), "--out", out)
    print(said.stdout, end="", flush=True)
    return json.loads((out / "model.json").read_text()), said.stdout


def measured(name, service, capture, start, objective, mix=()):
    """The capacity by search, beginning at `start` requests a second."""
    out = WORK / f"{name}-found"
    done = on_time(
        lambda: shutil.rmtree(out, ignore_errors=True),
        "capacity", capture, "--target", f"http://127.0.0.1:{service['port']}", "--allow-unsafe", "--slo", objective,
        "--start", f"{start / RATE:.3f}x", "--plateau", "20s", "--resolution", "5%", *flags("--mix", mix),
        "--json", "--out", out,
    )
    return json.loads(done.stdout)


def account(service):
    """Requests and CPU-seconds by path, as the service counts them."""
    page = urllib.request.urlopen(service["page"]).read().decode()
    found = re.findall(r'^route_(requests|cpu_seconds)_total\{route="(.*)"\} (\S+)$', page, re.M)
    return {(kind, path): float(value) for kind, path, value in found}


class Table:
    """What was found, a line each, beside what it should be."""

    def __init__(self):
        self.lines, self.misses, self.errors = [], 0, []

    def add(self, text, goal, passed):
        self.lines.append(f"{'PASS' if passed else 'MISS'}  {text}  (goal: {goal})")
        self.misses += not passed
        print(self.lines[-1], flush=True)

    def add_capacity(self, name, model, found, carried, answer):
        predicted, (low, high) = answer["rate_per_second"], answer["interval"]
        truth = found["limit_rate_per_second"]
        error, level = predicted / truth - 1, model["largest_load"] / truth
        bottleneck = (model.get("bottleneck") or {}).get("resource") or "-"
        self.add(
            f"{name:12} foretold {predicted:6.1f} [{low:6.1f}, {high:6.1f}]  measured {truth:6.1f}  error {error:+6.1%}  "
            f"most {carried:6.1f}  levels up to {level:.0%} of the capacity  binds: {bottleneck.rsplit('/', 1)[-1]}",
            f"10 %, from below {MOST_LEVEL:.0%}",
            abs(error) <= 0.10 and level <= MOST_LEVEL,
        )
        self.errors.append(abs(error))

    def add_tripled(self, answer, found):
        predicted, (low, high), truth = answer["rate_per_second"], answer["interval"], found["limit_rate_per_second"]
        error = predicted / truth - 1
        self.add(
            f"checkout × 3 foretold {predicted:6.1f} [{low:6.1f}, {high:6.1f}]  measured {truth:6.1f}  error {error:+6.1%}  "
            f"a request costs {answer['cost_ratio']:.2f} times as much",
            "10 %",
            abs(error) <= 0.10,
        )
        self.errors.append(abs(error))

    def add_costs(self, model, before, after):
        costs = next(each for each in model["answers"]["costs"] if each["resource"].endswith("cpu_cores"))
        for route in sorted(costs["routes"], key=lambda each: each["cost"]):
            path = route["route"].split()[1]
            count = after["requests", path] - before["requests", path]
            truth = (after["cpu_seconds", path] - before["cpu_seconds", path]) / count
            error, (low, high) = route["cost"] / truth - 1, route["interval"]
            self.add(
                f"{route['route']:14} {route['cost'] * 1e3:6.2f} ms of CPU [{low * 1e3:.2f}, {high * 1e3:.2f}]  by its own "
                f"account {truth * 1e3:6.2f} ms, {count:.0f} requests  error {error:+.1%}",
                "10 %, not negative",
                route["cost"] >= 0 and abs(error) <= 0.10,
            )


def main():
    # Ended from outside, services end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names, began = sys.argv[3:] or list(SERVICES), time.monotonic()
    WORK.mkdir(exist_ok=True)
    table = Table()
    captures = {"page": capture_of(PAGE, "page"), "routes": capture_of(ROUTES, "routes")}
    for name in names:
        start, routes, objective = SERVICES[name]
        capture = captures["page" if routes is PAGE else "routes"]
        service = start()
        try:
            carried = most(service, routes)
            print(f"\n{name}: {objective}; carries {carried:.0f} requests a second at most", flush=True)
            before = account(service) if name == "costs" else None
            model, said = foretold(name, service, capture, carried, objective, HOLD // 2 if name == "blind" else HOLD)
            capacity = model["capacity"]
            if name == "blind":
                passed = capacity.get("lower_bound_only") and "lower bound only" in said.lower()
                table.add(f"{name:12} at least {capacity['rate_per_second']:.1f}", "says 'lower bound only'", passed)
                continue
            if name == "costs":
                table.add_costs(model, before, account(service))
            table.add_capacity(name, model, measured(name, service, capture, 0.6 * carried, objective), carried, capacity)
            if name == "costs":
                tripled = ["POST /checkout=3x"]
                model, _ = modeled("mix", WORK / f"{name}.run", service, objective, tripled)
                answer = model["answers"]["mix"]
                found = measured("mix", service, capture, 0.6 * answer["rate_per_second"], objective, tripled)
                table.add_tripled(answer, found)
        except NotMeasured as why:
            table.add(f"{name:12} {why}", "is measured", False)
        finally:
            for end in service["ends"]:
                end()
    if len(table.errors) > 1:
        middle = statistics.median(table.errors)
        table.add(f"error of the capacities {middle:.1%} in the median", "5 %", middle <= 0.05)
    print("\n" + "\n".join(table.lines))
    print(f"{table.misses} of {len(table.lines)} missed, {(time.monotonic() - began) / 60:.0f} minutes")
    sys.exit(1 if table.misses else 0)


main()
