#!/usr/bin/env python3
"""Records real applications through `highwater record`, resets them, and replays the recordings.

    tests/apps/run.py HIGHWATER WORK_FOLDER [APP…]

For each application: what a naive replay reaches (no value bound), then 1x and 5x with bindings found by itself; of
Django's admin and the wikis also a masked capture with real credentials, and one without its login. With
GOREPLAY=/path/to/gor in the environment GoReplay replays the same capture, as it was exported for it. Reached is the
share of the answers that have the status of the recorded ones, and beside it the share of those that say what those
said. Objects are what the database holds afterwards, above what it held before; every copy is asked to make its own.
Everything runs on loopback, on ports that the machine chooses; PostgreSQL is a cluster of its own in the work folder.
`make apps` installs what this needs.
"""

import datetime
import html
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
HIGHWATER = os.path.abspath(sys.argv[1])
WORK = pathlib.Path(sys.argv[2]).resolve()
POSTGRES = max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise SystemExit(f"apps: waited a minute in vain for {what}")


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A child in a group of its own, that ends with the block."""

    def __init__(self, port, *command, **options):
        log = open(WORK / "processes.log", "ab")
        command = [str(word) for word in command]
        self.child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)
        self.port = port

    def __enter__(self):
        until(f"port {self.port}", lambda: self.child.poll() is not None or listens(self.port))
        if self.child.poll() is not None:
            raise SystemExit(f"apps: a process ended at once; see {WORK}/processes.log")
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.child.poll() is None:
                os.killpg(self.child.pid, number)
                try:
                    self.child.wait(15)
                except subprocess.TimeoutExpired:
                    pass


class Database:
    """A PostgreSQL cluster."""

    def __init__(self):
        self.port, self.folder = free_port(), WORK / "postgres"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if self.as_user:
            shutil.chown(self.folder, "postgres")
        self.run(POSTGRES / "initdb", "-D", self.folder / "data", "-A", "trust", "-U", "postgres")
        command = [POSTGRES / "postgres", "-D", self.folder / "data", "-h", "127.0.0.1", "-k", self.folder]
        command += ["-p", self.port, "-c", "fsync=off", "-c", "max_connections=200"]
        self.process = Process(self.port, *self.as_user, *command)

    def answers(self):
        """Whether it has started: it listens before it answers."""
        return subprocess.run(self.psql("postgres", "select 1"), capture_output=True).returncode == 0

    def run(self, *command):
        command = self.as_user + [str(word) for word in command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/tmp")

    def psql(self, database, query):
        return ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-Atc", query, database]

    def sql(self, database, query):
        return subprocess.run(self.psql(database, query), check=True, capture_output=True, text=True).stdout.strip()

    def renew(self, database, template=None):
        self.sql("postgres", f'drop database if exists "{database}" with (force)')
        self.sql("postgres", f'create database "{database}"' + (f' template "{template}"' if template else ""))


class Client:
    """A scripted client with cookies, redirects, and a connection that is kept."""

    def __init__(self, base):
        self.address, self.headers, self.cookies = base, {}, {}
        self.connection = http.client.HTTPConnection(base.split("//", 1)[1], timeout=30)

    def __call__(self, method, path, form=None, data=None):
        headers, body = dict(self.headers), None
        if form is not None:
            body, headers["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
        if data is not None:
            body, headers["Content-Type"] = json.dumps(data), "application/json"
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read().decode()
        for cookie in answer.msg.get_all("Set-Cookie", []):
            name, value = cookie.split(";", 1)[0].split("=", 1)
            self.cookies[name] = value
        if answer.status >= 400:
            raise SystemExit(f"apps: {method} {path}: {answer.status}: {text[:300]}")
        self.address = path
        if answer.status in (301, 302, 303):
            return self("GET", re.sub("^https?://[^/]*", "", answer.headers["Location"]))
        return text


def between(text, before, after):
    return text.split(before, 1)[1].split(after, 1)[0]


class Django:
    name = "Django admin, PostgreSQL, Chromium"
    # What a login is sent to, and with what.
    login = ("/admin/login/", "username,password\nadmin,pa55word\n")

    def __init__(self, database):
        self.database = database
        self.environment = dict(os.environ, SHOP_DB_HOST="127.0.0.1", SHOP_DB_PORT=str(database.port))
        # A copy, because Django writes its migrations beside the models.
        self.folder = WORK / "django"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(HERE / "django", self.folder)
        manage = [WORK / "venv/bin/python", self.folder / "manage.py"]
        database.renew("django_template")
        made = dict(self.environment, SHOP_DB="django_template", DJANGO_SUPERUSER_PASSWORD="pa55word")
        for command in (["makemigrations", "shop"], ["migrate"], ["createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com"]):
            subprocess.run([str(word) for word in manage + command], env=made, check=True, stdout=subprocess.DEVNULL)

    def reset(self):
        self.database.renew("django", "django_template")

    def serve(self, port):
        environment = dict(self.environment, SHOP_DB="django", PYTHONPATH=str(self.folder))
        command = [WORK / "venv/bin/gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "--threads", "8", "--keep-alive", "30"]
        return Process(port, *command, "django.core.wsgi:get_wsgi_application()", env=dict(environment, DJANGO_SETTINGS_MODULE="shop.settings"))

    def visit(self, base):
        script = WORK / "client.mjs"
        shutil.copy(HERE / "django/client.mjs", script)
        subprocess.run(["node", str(script), base, shutil.which("chromium")], check=True, timeout=300)

    def objects(self):
        counts = "select (select count(*) from shop_product) || ' products, ' || (select count(*) from shop_category) || ' categories'"
        return self.database.sql("django", counts)


class Shop:
    name = "Express shop, sessions and csurf"

    def __init__(self, database):
        self.database = database
        shutil.copy(HERE / "shop/server.mjs", WORK / "server.mjs")

    def reset(self):
        self.database.renew("express")

    def serve(self, port):
        return Process(port, "node", WORK / "server.mjs", port, "127.0.0.1", self.database.port, "express")

    def visit(self, base):
        for visitor in range(3):
            client = Client(base)
            client("GET", "/")
            for product in (1, 2):
                page = client("GET", f"/product/{product}")
                token = between(page, 'name="_csrf" value="', '"')
                page = client("POST", "/cart", form={"_csrf": token, "product": product, "quantity": visitor + 1})
                order = client.address.rsplit("/", 1)[1]
                token = between(page, 'name="_csrf" value="', '"')
                client("POST", f"/orders/{order}/pay", form={"_csrf": token})
                meta = between(client("GET", f"/orders/{order}"), 'csrf-token" content="', '"')
                client("GET", f"/api/orders/{order}")
                client.headers = {"X-CSRF-Token": meta}
                client("PUT", f"/api/orders/{order}", data={"quantity": 7})
                client.headers = {}

    def objects(self):
        return self.database.sql("express", "select count(*) || ' orders, ' || coalesce(sum(paid), 0) || ' paid, ' || count(*) filter (where quantity = 7) || ' changed' from orders")


class Api:
    name = "JWT API, Django REST framework and simplejwt, PostgreSQL"

    def __init__(self, database):
        self.database = database
        self.environment = dict(os.environ, SHOP_DB_HOST="127.0.0.1", SHOP_DB_PORT=str(database.port))
        self.folder = WORK / "api"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(HERE / "api", self.folder)
        database.renew("api_template")
        for command in (["makemigrations", "orders"], ["migrate"]):
            words = [WORK / "venv/bin/python", self.folder / "manage.py", *command]
            environment = dict(self.environment, SHOP_DB="api_template")
            subprocess.run([str(word) for word in words], env=environment, check=True, stdout=subprocess.DEVNULL)

    def reset(self):
        self.database.renew("api", "api_template")

    def serve(self, port):
        environment = dict(self.environment, SHOP_DB="api", PYTHONPATH=str(self.folder), DJANGO_SETTINGS_MODULE="orders.settings")
        command = [WORK / "venv/bin/gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "--threads", "16", "--keep-alive", "30"]
        return Process(port, *command, "django.core.wsgi:get_wsgi_application()", env=environment)

    def visit(self, base):
        for user in range(3):
            client = Client(base)
            person = {"username": f"user{user}", "password": "pa55word", "email": f"user{user}@example.com"}
            client("POST", "/api/register/", data=person)
            tokens = json.loads(client("POST", "/api/token/", data={"username": f"user{user}", "password": "pa55word"}))
            client.headers = {"Authorization": f"Bearer {tokens['access']}"}
            client("GET", "/api/orders/")
            for text in ("a", "b"):
                order = json.loads(client("POST", "/api/orders/", data={"text": text}))
                client("GET", f"/api/orders/{order['id']}/")
                client("PATCH", f"/api/orders/{order['id']}/", data={"text": text * 2})
            client("DELETE", f"/api/orders/{order['id']}/")
            fresh = json.loads(client("POST", "/api/token/refresh/", data={"refresh": tokens["refresh"]}))
            client.headers = {"Authorization": f"Bearer {fresh['access']}"}
            client("GET", "/api/orders/")

    def objects(self):
        counts = "select (select count(*) from orders_order) || ' orders, ' || (select count(*) from auth_user) || ' users'"
        return self.database.sql("api", counts)


class Wiki:
    name = "DokuWiki, PHP"
    login = ("/doku.php", "u,p\nann,pa55word\n")

    def __init__(self, _database):
        self.folder = WORK / "wiki"

    def reset(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree("/usr/share/dokuwiki", self.folder, symlinks=False, ignore_dangling_symlinks=True)
        for name, source in (("conf", "/etc/dokuwiki"), ("data", "/var/lib/dokuwiki/data")):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.copytree(source, self.folder / name, symlinks=False, ignore_dangling_symlinks=True)
        for name in ("pages", "meta", "attic", "media", "media_attic", "media_meta", "cache", "index", "locks", "tmp", "log"):
            (self.folder / "data" / name).mkdir(parents=True, exist_ok=True)
        conf = self.folder / "conf"
        (self.folder / "inc/preload.php").write_text(
            f"<?php define('DOKU_CONF', '{conf}/'); define('DOKU_INC', '{self.folder}/');\n"
        )
        hashed = subprocess.run(["php", "-r", "echo password_hash('pa55word', PASSWORD_BCRYPT);"], capture_output=True, text=True, check=True).stdout
        (conf / "users.auth.php").write_text(f"# users\nann:{hashed}:Ann:ann@example.com:admin,user\n")
        (conf / "acl.auth.php").write_text("* @ALL 1\n* @user 8\n")
        (conf / "local.php").write_text("<?php\n$conf['useacl'] = 1;\n$conf['superuser'] = '@admin';\n$conf['savedir'] = './data';\n$conf['updatecheck'] = 0;\n$conf['lockedit'] = 0;\n$conf['securecookie'] = 0;\n")

    def serve(self, port):
        environment = dict(os.environ, PHP_CLI_SERVER_WORKERS="4")
        return Process(port, "php", "-S", f"127.0.0.1:{port}", "-t", self.folder, env=environment, cwd=self.folder)

    def visit(self, base):
        client = Client(base)
        page = client("GET", "/doku.php?id=start&do=login")
        token = between(between(page, "dw__login", "</form>"), 'name="sectok" value="', '"')
        client("POST", "/doku.php?id=start", form={"sectok": token, "id": "start", "do": "login", "u": "ann", "p": "pa55word"})
        for name in ("first", "second", "third"):
            client("GET", f"/doku.php?id={name}")
            page = client("GET", f"/doku.php?id={name}&do=edit")
            fields = dict(part.split('" value="', 1) for part in page.split('<input type="hidden" name="')[1:] if '" value="' in part[:80])
            fields = {field: value.split('"', 1)[0] for field, value in fields.items() if field in ("sectok", "id", "rev", "date", "prefix", "suffix", "changecheck", "target")}
            client("POST", f"/doku.php?id={name}", form={**fields, "wikitext": f"Text of {name}", "summary": "made", "do[save]": "Save"})
        client("GET", "/doku.php?id=start&do=index")

    def objects(self):
        pages = list((self.folder / "data/pages").rglob("*.txt"))
        versions = list((self.folder / "data/attic").rglob("*.gz"))
        return f"{len(pages)} pages, {len(versions)} versions"


class MediaWiki:
    name = "MediaWiki, PHP, PostgreSQL"
    login = ("Special:UserLogin", "wpName,wpPassword\nAdmin,pa55word-pa55word\n")
    ROOT = pathlib.Path("/usr/share/mediawiki")

    def __init__(self, database):
        self.database, self.folder = database, WORK / "mediawiki"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        command = ["php", self.ROOT / "maintenance/install.php", "--dbtype", "postgres", "--dbserver", "127.0.0.1", "--dbport", database.port]
        command += ["--dbname", "mediawiki_template", "--dbuser", "postgres", "--dbpass", "none", "--confpath", self.folder]
        command += ["--server", "http://127.0.0.1", "--scriptpath", "", "--pass", "pa55word-pa55word", "Site", "Admin"]
        database.renew("mediawiki_template")
        subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, cwd="/tmp")
        with open(self.folder / "LocalSettings.php", "a") as settings:
            settings.write("$wgServer = 'http://' . ($_SERVER['HTTP_HOST'] ?? '127.0.0.1');\n$wgDBname = 'mediawiki';\n")

    def reset(self):
        self.database.renew("mediawiki", "mediawiki_template")

    def serve(self, port):
        environment = dict(os.environ, PHP_CLI_SERVER_WORKERS="4", MW_CONFIG_FILE=str(self.folder / "LocalSettings.php"))
        return Process(port, "php", "-S", f"127.0.0.1:{port}", "-t", self.ROOT, env=environment, cwd=self.folder)

    def visit(self, base):
        client = Client(base)

        def hidden(page, form):
            inputs = re.findall("<input[^>]*>", between(page, f'name="{form}"', "</form>"))
            named = lambda text, what: html.unescape(between(text, f'{what}="', '"')) if f'{what}="' in text else ""
            return {named(one, "name"): named(one, "value") for one in inputs if "hidden" in one}

        client("GET", "/index.php?title=Main_Page")
        page = client("GET", "/index.php?title=Special:UserLogin")
        fields = hidden(page, "userlogin")
        client("POST", "/index.php?title=Special:UserLogin", form={**fields, "wpName": "Admin", "wpPassword": "pa55word-pa55word", "wploginattempt": "Log in"})
        for title in ("First", "Second"):
            for text in ("made", "changed"):
                page = client("GET", f"/index.php?title={title}&action=edit")
                fields = {**hidden(page, "editform"), "wpTextbox1": f"{title} was {text}.", "wpSummary": text, "wpSave": "Save"}
                client("POST", f"/index.php?title={title}&action=submit", form=fields)
            client("GET", f"/index.php?title={title}&action=history")
        client("GET", "/index.php?title=Special:RecentChanges")

    def objects(self):
        counts = "select (select count(*) from mediawiki.page) || ' pages, ' || (select count(*) from mediawiki.revision) || ' revisions'"
        return self.database.sql("mediawiki", counts)


class Wagtail:
    name = "Wagtail, a CMS on Django, PostgreSQL"

    def __init__(self, database):
        self.database = database
        self.environment = dict(os.environ, PYTHONWARNINGS="ignore")
        self.folder = WORK / "wagtail"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        binaries = WORK / "venv/bin"
        subprocess.run([binaries / "wagtail", "start", "site1", self.folder], check=True, stdout=subprocess.DEVNULL, env=self.environment)
        # The settings that a project of its own makes: PostgreSQL, and the host of the loopback.
        (self.folder / "site1/settings/local.py").write_text(
            "ALLOWED_HOSTS = ['*']\nSTORAGES = {'default': {'BACKEND': 'django.core.files.storage.FileSystemStorage'}, "
            "'staticfiles': {'BACKEND': 'django.contrib.staticfiles.storage.StaticFilesStorage'}}\n"
            "import os\nDATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['SHOP_DB'], "
            f"'HOST': '127.0.0.1', 'PORT': {database.port}, 'USER': 'postgres'}}}}\n"
        )
        database.renew("wagtail_template")
        made = dict(self.environment, SHOP_DB="wagtail_template", DJANGO_SUPERUSER_PASSWORD="pa55word")
        for command in (["migrate"], ["createsuperuser", "--noinput", "--username=admin", "--email=admin@example.com"]):
            subprocess.run([str(word) for word in [binaries / "python", self.folder / "manage.py", *command]], env=made, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def reset(self):
        self.database.renew("wagtail", "wagtail_template")

    def serve(self, port):
        environment = dict(self.environment, SHOP_DB="wagtail", PYTHONPATH=str(self.folder), DJANGO_SETTINGS_MODULE="site1.settings.dev")
        # One request at a time: editors who add pages to one tree at once deadlock in its database, whoever asks.
        command = [WORK / "venv/bin/gunicorn", "-b", f"127.0.0.1:{port}", "-w", "1", "--threads", "1", "--keep-alive", "30"]
        return Process(port, *command, "django.core.wsgi:get_wsgi_application()", env=environment, cwd=self.folder)

    def visit(self, base):
        client = Client(base)
        page = client("GET", "/admin/login/?next=/admin/")
        token = lambda page: between(page, 'name="csrfmiddlewaretoken" value="', '"')
        page = client("POST", "/admin/login/", form={"csrfmiddlewaretoken": token(page), "username": "admin", "password": "pa55word", "next": "/admin/"})
        for title in ("First", "Second"):
            add = "/admin/pages/add/home/homepage/3/"
            page = client("GET", add)
            fields = {"csrfmiddlewaretoken": token(page), "title": title, "slug": title.lower(), "comments-TOTAL_FORMS": "0", "comments-INITIAL_FORMS": "0"}
            page = client("POST", add, form={**fields, "action-publish": "action-publish"})
            made = re.findall(r"/admin/pages/(\d+)/edit/", page)[-1] if "/edit/" in page else "3"
            edit = f"/admin/pages/{made}/edit/"
            page = client("GET", edit)
            fields = {"csrfmiddlewaretoken": token(page), "title": title + " changed", "slug": title.lower(), "comments-TOTAL_FORMS": "0", "comments-INITIAL_FORMS": "0"}
            client("POST", edit, form=fields)
            client("GET", f"/admin/pages/{made}/history/")
        page = client("GET", f"/admin/pages/{made}/delete/")
        client("POST", f"/admin/pages/{made}/delete/", form={"csrfmiddlewaretoken": token(page)})
        client("GET", "/admin/pages/3/")

    def objects(self):
        counts = "select (select count(*) from wagtailcore_page where depth = 3) || ' pages, ' || (select count(*) from wagtailcore_revision) || ' revisions'"
        return self.database.sql("wagtail", counts)


APPS = {"django": Django, "shop": Shop, "api": Api, "wiki": Wiki, "wagtail": Wagtail, "mediawiki": MediaWiki}


def record(app, capture, mask="none"):
    """The capture of one visit, and what it made."""
    app.reset()
    target, front = free_port(), free_port()
    command = [HIGHWATER, "record", "--listen", f"127.0.0.1:{front}", "--upstream", f"127.0.0.1:{target}", "--out", capture]
    # Pages of an admin are longer than the default, and their forms hold tokens to the end.
    command += ["--body-limit", "1MiB"]
    with app.serve(target):
        before = app.objects()
        with Process(front, *command, "--mask", mask):
            app.visit(f"http://127.0.0.1:{front}")
        made = above(app.objects(), before)
    return made


def above(made, before):
    """What was made above what was there: counts in a text, taken from those in another."""
    counts = iter(int(count) for count in re.findall(r"\d+", before))
    return re.sub(r"\d+", lambda count: str(int(count[0]) - next(counts)), made)


def times(made, copies):
    return re.sub(r"\d+", lambda count: str(int(count[0]) * copies), made)


def replay(app, capture, name, *flags):
    """The summary of one replay against a fresh application, and what it made."""
    app.reset()
    target = free_port()
    run = WORK / f"{name}.run"
    run.unlink(missing_ok=True)
    run.with_suffix(".answers").unlink(missing_ok=True)
    command = [HIGHWATER, "replay", capture, "--target", f"http://127.0.0.1:{target}", "--allow-unsafe", "--out", run, "--answers", "--json", *flags]
    # A machine that is busy with something else is slow, not wrong.
    command += ["--timeout", "120s"]
    with app.serve(target):
        before = app.objects()
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode not in (0, 5):
            raise SystemExit(f"apps: {name}: {done.stderr}")
        (WORK / f"{name}.log").write_text(done.stderr)
        (WORK / f"{name}.json").write_text(done.stdout)
        made = above(app.objects(), before)
    return json.loads(done.stdout), made


def exchanges_of(capture):
    shown = subprocess.run([HIGHWATER, "inspect", capture, "--exchanges", "--json"], check=True, capture_output=True, text=True)
    return [json.loads(one) for one in shown.stdout.splitlines()]


def statuses(capture):
    """The statuses of a capture by method and target, in the order of the requests."""
    found = {}
    for exchange in exchanges_of(capture):
        found.setdefault((exchange["method"], exchange["target"]), []).append(exchange["status"])
    return found


def goreplay(app, capture, short):
    """The share of the recorded statuses that GoReplay reaches, how many it sent, and what that made. What it sends
    passes a recorder, so that both are counted alike."""
    app.reset()
    exported, seen = WORK / f"{short}.gor", WORK / f"{short}-goreplay.capture"
    for file in (exported, seen):
        file.unlink(missing_ok=True)
    subprocess.run([HIGHWATER, "export", capture, "--format", "gor", "--out", exported], check=True, capture_output=True)
    target, front = free_port(), free_port()
    command = [HIGHWATER, "record", "--listen", f"127.0.0.1:{front}", "--upstream", f"127.0.0.1:{target}", "--out", seen, "--record-replayed"]
    with app.serve(target):
        before = app.objects()
        with Process(front, *command):
            sent = [os.environ["GOREPLAY"], "--input-file", exported, "--output-http", f"http://127.0.0.1:{front}"]
            subprocess.run([str(word) for word in sent], check=True, capture_output=True, timeout=600)
        made = above(app.objects(), before)
    recorded, reached = statuses(capture), statuses(seen)
    equal = sum(a == b for place, all in recorded.items() for a, b in zip(all, reached.get(place, [])))
    return equal / sum(map(len, recorded.values())), sum(map(len, reached.values())), made


def without_login(app, capture):
    """The capture from the first request after the login on: its sessions began before it."""
    cut = capture.with_name(f"{capture.stem}-cut.capture")
    cut.unlink(missing_ok=True)
    exchanges = exchanges_of(capture)
    login = next(at for at, one in enumerate(exchanges) if one["method"] == "POST" and app.login[0] in one["target"])
    began = datetime.datetime.fromtimestamp(exchanges[login + 1]["arrived"] - 0.001, datetime.timezone.utc)
    command = [HIGHWATER, "cut", capture, "--from", began.isoformat(), "--out", cut]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return cut


def line(what, summary, made):
    bindings, answers = summary["bindings"], summary["answers"]
    print(
        f"  {what:<14} {100 * summary['same_status_ratio']:6.2f} % {100 * answers['alike_ratio']:6.2f} %   {summary['sent']:>4} sent   "
        f"{bindings['bound']:>4} bound, {bindings['missing']} missing   {made}",
        flush=True,
    )


class Judge:
    """Whether what is asked was reached: the recorded status of 99 % of the answers, and the objects of each copy."""

    def __init__(self):
        self.worst, self.wrong = 1.0, []

    def __call__(self, app, what, summary, made, asked):
        line(what, summary, made)
        self.worst = min(self.worst, summary["same_status_ratio"])
        if made != asked:
            self.wrong.append(f"{app.name}, {what}: {made} were made, not {asked}")


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    database = Database()
    judge = Judge()
    with database.process:
        until("PostgreSQL", database.answers)
        for short in sys.argv[3:] or APPS:
            app = APPS[short](database)
            capture = WORK / f"{short}.capture"
            capture.unlink(missing_ok=True)
            recorded = record(app, capture)
            print(f"{app.name}\n  {'recorded':<14} {'status':>8} {'alike':>8}   {'':>9}   {'':>22} {recorded}", flush=True)
            line("naive", *replay(app, capture, f"{short}-naive", "--no-correlate"))
            if os.environ.get("GOREPLAY"):
                ratio, sent, made = goreplay(app, capture, short)
                print(f"  {'GoReplay':<14} {100 * ratio:6.2f} % {'':>8}   {sent:>4} sent   {'':>22}   {made}", flush=True)
            for copies in (1, 5):
                scale = f"{copies}x"
                judge(app, scale, *replay(app, capture, f"{short}-{scale}", "--scale", scale), times(recorded, copies))
            if hasattr(app, "login"):
                users = WORK / f"{short}-users.csv"
                users.write_text(app.login[1])
                masked = WORK / f"{short}-masked.capture"
                masked.unlink(missing_ok=True)
                record(app, masked, "default")
                judge(app, "masked", *replay(app, masked, f"{short}-masked", "--login", users), recorded)
                cut = without_login(app, capture)
                line("cut, naive", *replay(app, cut, f"{short}-cut-naive"))
                flags = ["--login-flow", capture, "--login", users, "--scale", "5x"]
                judge(app, "cut, login 5x", *replay(app, cut, f"{short}-cut", *flags), times(recorded, 5))
    print(f"worst: {100 * judge.worst:.2f} % of the answers had the recorded status; 99 % is asked")
    for wrong in judge.wrong:
        print(wrong)
    sys.exit(0 if judge.worst >= 0.99 and not judge.wrong else 1)


main()
