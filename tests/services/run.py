#!/usr/bin/env python3
"""Foretells the capacity of real services from levels below 70 % of it, then measures it.

    tests/services/run.py HIGHWATER WORK_FOLDER [SERVICE…]

Each service has a limit of its own: nginx before a pool of PHP workers, an endpoint with four connections to
PostgreSQL, Python workers behind gunicorn. `replay` holds five levels, `model` foretells, `capacity` measures; the
table says how far the two lie apart. Of `blind` nothing is observed: the model must say that it gives a lower bound
only. `costs` has routes of known CPU time: their costs, and what a tripled checkout would carry, are foretold and
measured. Everything runs on loopback, on ports that the machine chooses. `make bench-services` installs what is needed.
"""

import datetime
import json
import math
import os
import pathlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
HIGHWATER = os.path.abspath(sys.argv[1])
WORK = pathlib.Path(sys.argv[2]).resolve()
POSTGRES = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
# Levels as shares of what the service is built to carry, and how long each is held.
LEVELS, HOLD = (0.15, 0.28, 0.40, 0.52, 0.63), 30
SPAN, RATE = 60, 100.0


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
    # One process, and Python's one lock: more than one core is of no use to it.
    service["limit"] = ["cpu_cores=1"]
    return service


PAGE = [("GET", "/", 1.0)]
ROUTES = [("GET", "/", 0.45), ("GET", "/item", 0.30), ("GET", "/search", 0.15), ("POST", "/checkout", 0.10)]
# Start, routes, about how many requests a second it is built for, objective.
SERVICES = {
    "nginx": (nginx_and_php, PAGE, 270.0, "p95<120ms,errors<1%"),
    "postgres": (postgres_pool, PAGE, 160.0, "p95<120ms,errors<1%"),
    "wsgi": (python_workers, PAGE, 145.0, "p95<120ms,errors<1%"),
    "blind": (blind, PAGE, 145.0, "p95<120ms,errors<1%"),
    "costs": (python_costs, ROUTES, 150.0, "p95<150ms,errors<1%"),
}


def capture_of(routes, name):
    """A capture of visitors that come by chance, each with one request on a connection of its own.

    What they want sways, as it does: now more of them search, now more of them buy.
    """
    chance, entries, at, number = random.Random(5), [], 0.0, 0
    began = datetime.datetime(2026, 11, 2, 12, tzinfo=datetime.timezone.utc)
    while (at := at + chance.expovariate(RATE)) < SPAN:
        shares = [share * (1 + 0.6 * math.sin(at * (0.7 + 0.4 * index))) for index, (*_, share) in enumerate(routes)]
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


def highwater(*words, ok=(0,)):
    command = [HIGHWATER, *[str(word) for word in words]]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=urgent)
    if done.returncode not in ok:
        raise SystemExit(f"services: {' '.join(command)}\n{done.stdout}{done.stderr}ended with {done.returncode}")
    return done


def flags(name, values):
    return [word for value in values for word in (name, value)]


def foretold(name, service, capture, built, objective, mix=()):
    """The model of levels below the limit."""
    stages = ",".join(f"={HOLD}s:{share * built / RATE:.3f}x" for share in LEVELS)
    run, out = WORK / f"{name}.run", WORK / f"{name}-model"
    run.unlink(missing_ok=True)
    target = f"http://127.0.0.1:{service['port']}"
    observe = flags("--observe", service.get("observe", []))
    highwater("replay", capture, "--target", target, "--allow-unsafe", "--stages", stages, *observe, "--out", run)
    limits = flags("--limit", service.get("limit", []))
    said = highwater("model", run, "--slo", objective, *limits, *flags("--mix", mix), "--out", out)
    print(said.stdout, end="", flush=True)
    return json.loads((out / "model.json").read_text()), said.stdout


def measured(name, service, capture, built, objective, mix=()):
    """The capacity by search, beginning at the lowest level."""
    out = WORK / f"{name}-found"
    shutil.rmtree(out, ignore_errors=True)
    done = highwater(
        "capacity", capture, "--target", f"http://127.0.0.1:{service['port']}", "--allow-unsafe", "--slo", objective,
        "--start", f"{0.4 * built / RATE:.3f}x", "--plateau", "20s", "--resolution", "4%", *flags("--mix", mix),
        "--json", "--out", out,
    )
    return json.loads(done.stdout)


def cpu_seconds(pid):
    """User and system time of a process and its children, by proc(5)."""
    seconds = 0.0
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if path.parent.name == str(pid) or fields[1] == str(pid):
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def true_costs(service):
    """CPU-seconds of a request by route: one route at a time, one request after the other."""
    costs = {}
    for method, path, _ in ROUTES:
        before = cpu_seconds(service["pid"])
        for _ in range(400):
            request = urllib.request.Request(f"http://127.0.0.1:{service['port']}{path}", method=method, data=b"a=1" if method == "POST" else None)
            urllib.request.urlopen(request).read()
        costs[f"{method} {path}"] = (cpu_seconds(service["pid"]) - before) / 400
    return costs


def row(name, model, found, rate=None):
    """A line of the table; the error, when there is a prediction."""
    capacity = model["capacity"]
    predicted = rate or capacity["rate_per_second"]
    low, high = capacity["interval"] if rate is None else model["answers"]["mix"]["interval"]
    truth = found["limit_rate_per_second"]
    error = predicted / truth - 1
    bottleneck = (model.get("bottleneck") or {}).get("resource") or "-"
    print(
        f"{name:16} foretold {predicted:6.1f} [{low:6.1f}, {high:6.1f}]  measured {truth:6.1f} ({found['passed_rate_per_second'] or 0:.1f} passed, "
        f"{found['failed_rate_per_second'] or 0:.1f} failed)  error {error:+6.1%}  levels up to {model['largest_load'] / truth:.0%}  binds: {bottleneck.rsplit('/', 1)[-1]}",
        flush=True,
    )
    return abs(error)


def main():
    # Ended from outside, services end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = sys.argv[3:] or list(SERVICES)
    WORK.mkdir(exist_ok=True)
    errors, wrong, table = [], [], []
    captures = {"page": capture_of(PAGE, "page"), "routes": capture_of(ROUTES, "routes")}
    for name in names:
        start, routes, built, objective = SERVICES[name]
        capture = captures["page" if routes is PAGE else "routes"]
        service = start()
        try:
            print(f"\n{name}: {objective}", flush=True)
            model, said = foretold(name, service, capture, built, objective)
            if name == "blind":
                if not model["capacity"].get("lower_bound_only") or "lower bound only" not in said.lower():
                    wrong.append("blind: does not say 'lower bound only'")
                table.append(f"{name:16} lower bound only: at least {model['capacity']['rate_per_second']:.1f}")
                continue
            found = measured(name, service, capture, built, objective)
            table.append((name, model, found, None))
            if name == "costs":
                check_costs(service, model, wrong)
                tripled = ["POST /checkout=3x"]
                run = WORK / f"{name}.run"
                limits = flags("--limit", service["limit"])
                out = WORK / "mix-model"
                highwater("model", run, "--slo", objective, *limits, *flags("--mix", tripled), "--out", out)
                mixed = json.loads((out / "model.json").read_text())
                found = measured("mix", service, capture, 0.7 * built, objective, tripled)
                table.append(("checkout × 3", mixed, found, mixed["answers"]["mix"]["rate_per_second"]))
        finally:
            for end in service["ends"]:
                end()
    print()
    for line in table:
        if isinstance(line, str):
            print(line)
        else:
            errors.append(row(*line))
    if errors:
        print(f"median error {statistics.median(errors):.1%}, largest {max(errors):.1%}")
        if statistics.median(errors) > 0.05 or max(errors) > 0.10:
            wrong.append("a capacity is foretold worse than it should be (5 % in the median, 10 % each)")
    for complaint in wrong:
        print(f"services: {complaint}")
    sys.exit(1 if wrong else 0)


def check_costs(service, model, wrong):
    truth = true_costs(service)
    costs = next(each for each in model["answers"]["costs"] if each["resource"].endswith("cpu_cores"))
    for route in costs["routes"]:
        real = truth[route["route"]]
        error = route["cost"] / real - 1
        low, high = route["interval"]
        print(
            f"  {route['route']:16} {route['cost'] * 1e3:6.2f} ms of CPU [{low * 1e3:.2f}, {high * 1e3:.2f}], measured alone {real * 1e3:6.2f} ms, error {error:+.1%}"
        )
        if route["cost"] < 0 or abs(error) > 0.10:
            wrong.append(f"costs: {route['route']} is off by {error:+.1%}")


main()
