//! The rows: one fault each.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use captures::Run;

use super::Cells;
use super::lab::{Lab, OK, Target, unless, well};
use crate::chaos::WallClock;
use crate::support::{Recorded, free_port, highwater, now, pause, stderr, until};
use crate::table::Verdict;

/// Limits that make a fault show itself soon.
const SOON: [&str; 2] = ["--timeout", "1s"];

/// L1: nobody listens.
pub(super) fn down(lab: &Lab) -> Cells {
    lab.capture(50, 2);
    let left = lab.replay(&format!("http://127.0.0.1:{}", free_port()), &[]);
    let mut usable = unless(left.code == Some(4), || format!("exit code {:?}: {}", left.code, left.stderr));
    usable.extend(unless(left.took < Duration::from_secs(5), || format!("it took {:?}", left.took)));
    usable.extend(unless(left.stderr.lines().count() <= 3, || format!("many words: {}", left.stderr)));
    [
        Verdict::of(
            &unless(lab.origin.connections() == 0, || "the origin was touched".to_owned()),
            "nothing was sent",
        ),
        left.without_run(),
        Verdict::Holds("ended at once".to_owned()),
        Verdict::of(&usable, "said within 5 s"),
    ]
}

/// L2: the target stops listening, and resets what is open.
pub(super) fn dies(lab: &Lab) -> Cells {
    lab.capture(100, 4);
    let dead = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dead);
    let target = Target::start(move |stream, turn, overall| {
        if overall >= 150 {
            flag.store(true, Ordering::Relaxed);
        }
        !flag.load(Ordering::Relaxed) && well(stream, turn, overall)
    });
    let more = ["--duration", "10m", "--breaker", "errors<50% for 5s", "--timeout", "1s"];
    let left = lab.replay(&target.url(), &more);
    let stopped = left.summary["stopped_by"].as_str().unwrap_or_default().to_owned();
    let mut extra =
        unless(stopped.contains("errors<50%"), || format!("the breaker did not say so: {stopped}"));
    extra.extend(unless(left.took < Duration::from_secs(30), || format!("it went on for {:?}", left.took)));
    extra.extend(unless(left.number("ok") > 50, || "the first half is missing".to_owned()));
    left.judged(lab, &target, &["--duration", "20s"], &[99], &extra)
}

/// L3: accepts, reads, and never answers.
pub(super) fn hangs(lab: &Lab) -> Cells {
    lab.capture(100, 3);
    let target = Target::start(|_, _, _| true);
    let more = [&SOON[..], &["--breaker", "off"]].concat();
    let left = lab.replay(&target.url(), &more);
    let extra = unless(left.error("timed_out") > 0 && left.number("ok") == 0, || format!("{}", left.summary));
    left.judged(lab, &target, &more, &[4], &extra)
}

/// L4: a byte each 100 ms.
pub(super) fn drips(lab: &Lab) -> Cells {
    lab.capture(20, 2);
    let target = Target::start(|stream, _, _| {
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().chain(&[b'x'; 1_000]) {
            if stream.write_all(&[*byte]).is_err() {
                return false;
            }
            pause(Duration::from_millis(100));
        }
        true
    });
    let more = [&SOON[..], &["--breaker", "off"]].concat();
    let left = lab.replay(&target.url(), &more);
    let timed_out = left.error("timed_out");
    let mut extra =
        unless(timed_out == left.number("planned"), || format!("{timed_out} timed out: {}", left.summary));
    // None of them is used again.
    extra.extend(unless(left.summary["reused"] == 0, || "a dripping connection was used again".to_owned()));
    left.judged(lab, &target, &more, &[4], &extra)
}

/// L5: resets after any number of bytes; with unsafe methods, of which none may arrive twice.
pub(super) fn resets(lab: &Lab) -> Cells {
    lab.capture(100, 3);
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n0123456789012345678901234567890123456789";
    let target = Target::start(move |stream, _, overall| {
        let _ = stream.write_all(&answer[..overall % answer.len()]);
        false
    });
    let more = ["--allow-unsafe", "--breaker", "off"];
    let left = lab.replay(&target.url(), &more);
    let mut posts: Vec<String> =
        target.requests().into_iter().map(|seen| seen.line).filter(|line| line.starts_with("POST")).collect();
    let all = posts.len();
    posts.sort();
    posts.dedup();
    let mut extra =
        unless(posts.len() == all, || format!("{} unsafe requests arrived twice", all - posts.len()));
    extra.extend(unless(left.error("reset") == left.number("planned"), || format!("{}", left.summary)));
    left.judged(lab, &target, &more, &[4], &extra)
}

/// L6: closes each connection right after an answer, without saying so.
pub(super) fn races(lab: &Lab) -> Cells {
    let requests: Vec<Recorded> = (0..400_u64)
        .map(|at| Recorded {
            arrived: Duration::from_millis(at * 5),
            connection: at % 40,
            method: if at % 40 < 20 { "POST" } else { "GET" },
            target: format!("/{at}"),
            body: Vec::new(),
        })
        .collect();
    lab.written(&requests);
    let target = Target::start(|stream, turn, _| {
        if turn % 2 == 1 {
            // Takes the second request of a connection and closes instead of answering.
            return false;
        }
        stream.write_all(OK).is_ok()
    });
    let more = ["--allow-unsafe", "--breaker", "off"];
    let left = lab.replay(&target.url(), &more);
    let mut posts: Vec<String> =
        target.requests().into_iter().map(|seen| seen.line).filter(|line| line.starts_with("POST")).collect();
    let all = posts.len();
    posts.sort();
    posts.dedup();
    let mut extra =
        unless(posts.len() == all, || format!("{} unsafe requests arrived twice", all - posts.len()));
    let retried = left.summary["retried"].as_u64().unwrap_or(0);
    extra.extend(unless(retried > 0, || "no retry was counted".to_owned()));
    left.judged(lab, &target, &more, &[0], &extra)
}

/// L7: a name without an address; and the recorded origin, however it is written.
pub(super) fn names(lab: &Lab) -> Cells {
    lab.capture(20, 1);
    let nowhere = lab.replay("http://nowhere.invalid", &[]);
    let port = lab.origin.address.port();
    let spellings = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "0177.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "LocalHost.",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "127.0.0.2",
        "127.255.255.254",
        "[::1]",
        "0",
        "0x7f.0.0.1",
    ];
    let mut passed = Vec::new();
    for host in spellings {
        let left = lab.replay(&format!("http://{host}:{port}"), &[]);
        if left.code != Some(2) || !left.stderr.contains("recorded origin") {
            passed.push(format!("{host}: exit code {:?}: {}", left.code, left.stderr.trim()));
        }
    }
    passed.extend(unless(lab.origin.connections() == 0, || "the origin was touched".to_owned()));
    [
        Verdict::of(&passed, "20 of 20 refused, no packet sent"),
        nowhere.without_run(),
        Verdict::Holds("ended at once".to_owned()),
        Verdict::of(
            &unless(nowhere.code == Some(4), || format!("{:?}: {}", nowhere.code, nowhere.stderr)),
            "exit code 4",
        ),
    ]
}

/// L8: an https target that speaks something else. (Bad certificates: tests/replay/tls.rs, 8 of 8.)
pub(super) fn tls(lab: &Lab) -> Cells {
    lab.capture(50, 2);
    let target = Target::start(|stream, _, _| stream.write_all(b"\x15\x03\x01nonsense").is_ok());
    let url = format!("https://{}", target.address);
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let ca = lab.path("ca.pem");
    std::fs::write(&ca, authority.cert.pem()).unwrap();
    let more = ["--ca", ca.to_str().unwrap(), "--breaker", "off", "--timeout", "1s"];
    let left = lab.replay(&url, &more);
    let said = left.code == Some(4) && left.stderr.contains("no TLS connection can be made");
    [
        Verdict::of(&lab.safe(&target, &more), "nothing but what was planned"),
        left.without_run(),
        Verdict::Holds("ended at once".to_owned()),
        Verdict::of(&unless(said, || format!("exit code {:?}: {}", left.code, left.stderr)), "said at once"),
    ]
}

/// L9: sixteen local ports, in a network of its own.
pub(super) fn ports(lab: &Lab) -> Cells {
    let alone = Command::new("unshare").args(["-n", "true"]).status().is_ok_and(|status| status.success());
    if !alone || !Path::new("/usr/sbin/nginx").exists() {
        return std::array::from_fn(|_| Verdict::Skipped("wants root, unshare and nginx".to_owned()));
    }
    let requests: Vec<Recorded> = (0..200_u64)
        .map(|at| Recorded {
            arrived: Duration::from_millis(at * 5),
            connection: at,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    lab.written(&requests);
    let folder = lab.folder.path().display();
    let config = format!(
        "pid {folder}/n.pid; error_log /dev/null; daemon on; events {{}}\n\
         http {{ access_log off; server {{ listen 127.0.0.1:8081; location / {{ return 200 ok; }} }} }}\n"
    );
    std::fs::write(lab.path("n.conf"), config).unwrap();
    let script = format!(
        "ip link set lo up && echo '40000 40015' > /proc/sys/net/ipv4/ip_local_port_range && /usr/sbin/nginx -c {folder}/n.conf && \
         {} replay {folder}/c.capture --target http://127.0.0.1:8081 --json --threads 1 --breaker off --out {folder}/r.run; \
         code=$?; kill $(cat {folder}/n.pid); exit $code",
        env!("CARGO_BIN_EXE_highwater")
    );
    let began = now();
    let output = Command::new("unshare").args(["-n", "sh", "-c", &script]).output().unwrap();
    let left = lab.left(&output, began);
    let none = Target::start(well);
    let ports = left.summary["skipped"]["ports"].as_u64().unwrap_or(0);
    let mut problems =
        unless(ports > 0, || format!("no want of ports was noticed: {} {}", left.summary, left.stderr));
    problems
        .extend(unless(left.stderr.contains("local ports"), || format!("it is not named: {}", left.stderr)));
    let accounted = left.number("sent").saturating_add(ports);
    [
        Verdict::of(
            &unless(lab.origin.connections() == 0 && none.connections() == 0, || {
                "others were touched".to_owned()
            }),
            "alone",
        ),
        Verdict::of(
            &unless(accounted == 200, || format!("{}", left.summary)),
            format!("{ports} skipped for want of ports"),
        ),
        Verdict::of(&left.bounded(), "within bounds"),
        Verdict::of(&[left.usable(&[5]), problems].concat(), "named, exit code 5"),
    ]
}

/// L10: room for sixteen connections.
pub(super) fn descriptors(lab: &Lab) -> Cells {
    lab.capture(100, 2);
    let target = Target::start(|stream, turn, overall| {
        pause(Duration::from_millis(500));
        well(stream, turn, overall)
    });
    let began = now();
    let more = ["--breaker", "off"];
    let output = lab.wrapped(&["prlimit", "--nofile=80:80"], &target.url(), &more).output().unwrap();
    let left = lab.left(&output, began);
    let skipped = left.error("descriptors");
    let mut extra = unless(skipped > 0, || format!("no want of descriptors was noticed: {}", left.summary));
    extra.extend(unless(left.stderr.contains("descriptors"), || left.stderr.clone()));
    left.judged(lab, &target, &more, &[5], &extra)
}

/// L11: three thousand connections at once.
pub(super) fn many(lab: &Lab) -> Cells {
    let requests: Vec<Recorded> = (0..6_000_u64)
        .map(|at| Recorded {
            arrived: Duration::from_micros(at * 1_000),
            connection: at % 3_000,
            method: "GET",
            target: "/".to_owned(),
            body: Vec::new(),
        })
        .collect();
    lab.written(&requests);
    let target = Target::start(well);
    let left = lab.replay(&target.url(), &[]);
    let mut extra = unless(left.number("ok") == 6_000, || format!("unexplained errors: {}", left.summary));
    let most = left.summary["connections_most"].as_u64().unwrap_or(0);
    extra.extend(unless(most >= 2_500 && left.summary["connections_opened"] == 3_000, || {
        format!("{most} at once")
    }));
    left.judged(lab, &target, &[], &[0], &extra)
}

/// L12: ended from outside.
pub(super) fn signals(lab: &Lab) -> Cells {
    let mut problems = Vec::new();
    let mut last = None;
    for signal in ["-INT", "-TERM"] {
        lab.capture(100, 2);
        let _ = std::fs::remove_file(lab.path("r.run"));
        let target = Target::start(well);
        let child = lab.command(&target.url(), &["--duration", "10m"]).spawn().unwrap();
        until("traffic", || (target.requests().len() > 50).then_some(()));
        let told = now();
        Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        let left = lab.waited(child, told);
        let after =
            target.requests().last().map(|seen| seen.at.saturating_duration_since(told)).unwrap_or_default();
        problems.extend(unless(after < Duration::from_secs(1), || {
            format!("{signal}: sent until {after:?} after it")
        }));
        problems.extend(unless(left.took < Duration::from_secs(3), || {
            format!("{signal}: ended after {:?}", left.took)
        }));
        problems.extend(unless(left.summary["interrupted"] == true, || format!("{signal}: not marked")));
        last = Some((left, target));
    }
    let (left, target) = last.unwrap();
    left.judged(lab, &target, &["--duration", "10s"], &[0], &problems)
}

/// L13: killed.
pub(super) fn killed(lab: &Lab) -> Cells {
    lab.capture(100, 2);
    let target = Target::start(well);
    let mut child = lab.command(&target.url(), &["--duration", "10m"]).spawn().unwrap();
    until("four seconds of traffic", || (target.requests().len() > 400).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let run = std::fs::File::open(lab.path("r.run")).ok().and_then(|file| Run::read(file).ok());
    let (seen, kept) = (target.requests().len() as u64, run.as_ref().map_or(0, |run| run.overall().total()));
    // 90 a second: all but the last two seconds.
    let enough = kept + 270 >= seen;
    [
        Verdict::of(&lab.safe(&target, &["--duration", "10s"]), "nothing but what was planned"),
        Verdict::of(
            &unless(kept <= seen, || format!("{kept} outcomes of {seen} requests")),
            format!("{kept} of {seen}"),
        ),
        Verdict::Holds("gone".to_owned()),
        Verdict::of(
            &unless(enough, || format!("{kept} outcomes kept of {seen} requests")),
            "all but the last seconds",
        ),
    ]
}

/// L14: the wall clock jumps while it runs.
pub(super) fn clock(lab: &Lab) -> Cells {
    lab.capture(100, 4);
    let clock = match WallClock::of(lab.folder.path()) {
        Ok(clock) => clock,
        Err(why) => return std::array::from_fn(|_| Verdict::Skipped(why.clone())),
    };
    let target = Target::start(well);
    let began = now();
    let mut command = clock.command(&highwater().get_program().to_string_lossy());
    command
        .args(["replay", lab.path("c.capture").to_str().unwrap(), "--target", &target.url(), "--json"])
        .args(["--threads", "1", "--out", lab.path("r.run").to_str().unwrap()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    for seconds in [3_600, -3_600, 0] {
        until("traffic", || (!target.requests().is_empty()).then_some(()));
        clock.set_off_by(seconds);
        pause(Duration::from_millis(700));
    }
    let left = lab.waited(child, began);
    let mut extra = unless(left.number("ok") == 360, || format!("{}", left.summary));
    let length = left.summary["elapsed_seconds"].as_f64().unwrap_or(0.0);
    extra.extend(unless((3.5..8.0).contains(&length), || format!("it took {length} s by its own account")));
    left.judged(lab, &target, &[], &[0], &extra)
}

/// L15: stopped for two seconds, as a starved machine would.
pub(super) fn suspended(lab: &Lab) -> Cells {
    lab.capture(200, 6);
    let target = Target::start(well);
    let child = lab.command(&target.url(), &[]).spawn().unwrap();
    let began = now();
    until("traffic", || (target.requests().len() > 100).then_some(()));
    let id = child.id().to_string();
    Command::new("kill").args(["-STOP", &id]).status().unwrap();
    pause(Duration::from_secs(2));
    Command::new("kill").args(["-CONT", &id]).status().unwrap();
    let left = lab.waited(child, began);
    let mut extra = unless(left.code == Some(5), || format!("the run calls itself valid: {}", left.summary));
    extra.extend(unless(left.error("ceiling") > 0, || "nothing was clipped".to_owned()));
    left.judged(lab, &target, &[], &[5], &extra)
}

/// L16: answers that are wrong in every way that other projects have thought of.
pub(super) fn hostile(lab: &Lab) -> Cells {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus/http1-torture/responses");
    let mut answers: Vec<Vec<u8>> = vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n".to_vec(),
        b"HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000),
        b"HTTP/1.1 200 OK\r\n".iter().copied().chain(b"X: y\r\n".repeat(100_000)).collect(),
        vec![0; 100_000],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than was promised".to_vec(),
    ];
    collect(&corpus, &mut answers);
    if !corpus.exists() {
        eprint!("(without the corpus) ");
    }
    let count = answers.len() as u64;
    let requests: Vec<Recorded> = (0..count)
        .map(|at| Recorded {
            arrived: Duration::from_millis(at * 10),
            connection: at,
            method: "GET",
            target: format!("/{at}"),
            body: Vec::new(),
        })
        .collect();
    lab.written(&requests);
    let target = Target::start(move |stream, _, overall| {
        let _ = stream.write_all(&answers[overall % answers.len()]);
        false
    });
    let more = ["--breaker", "off", "--timeout", "2s"];
    let left = lab.replay(&target.url(), &more);
    let classified =
        left.number("ok") + left.error("invalid") + left.error("reset") + left.error("timed_out");
    let others = left.error("status_5xx") + left.error("unexpected_4xx");
    let extra = unless(classified + others == count, || {
        format!("{classified} of {count} classified: {}", left.summary)
    });
    left.judged(lab, &target, &more, &[0], &extra)
}

fn collect(folder: &Path, answers: &mut Vec<Vec<u8>>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, answers);
        } else if let Ok(bytes) = std::fs::read(&path) {
            answers.push(bytes);
        }
    }
}

/// L17: answers that ask for more: followed none.
pub(super) fn statuses(lab: &Lab) -> Cells {
    lab.capture(60, 2);
    let origin = lab.origin.address;
    let target = Target::start(move |stream, _, overall| {
        let answer = match overall % 5 {
            0 => format!("HTTP/1.1 302 Found\r\nLocation: http://{origin}/\r\nContent-Length: 0\r\n\r\n"),
            1 => {
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            2 => "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned(),
            3 => "HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => String::from_utf8_lossy(OK).into_owned(),
        };
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let more = ["--breaker", "off"];
    let left = lab.replay(&target.url(), &more);
    let fifth = left.number("planned") / 5;
    let near = |name: &str| left.summary["statuses"][name].as_u64().unwrap_or(0).abs_diff(fifth) <= 2;
    let recorded = ["302", "401", "429", "503", "200"].into_iter().all(near);
    let mut extra = unless(recorded, || format!("{}", left.summary["statuses"]));
    let seen = target.requests().len() as u64;
    extra.extend(unless(seen == left.number("planned"), || format!("{seen} requests: one was followed")));
    left.judged(lab, &target, &more, &[0], &extra)
}

/// L18: captures that are not as they should be.
pub(super) fn captures(lab: &Lab) -> Cells {
    let target = Target::start(well);
    let mut problems = Vec::new();
    // Empty, and no capture at all.
    for (bytes, code) in [(Vec::new(), 3), (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 3)] {
        std::fs::write(lab.path("c.capture"), bytes).unwrap();
        let left = lab.replay(&target.url(), &[]);
        problems.extend(unless(left.code == Some(code), || format!("{:?}: {}", left.code, left.stderr)));
    }
    lab.written(&[]);
    let none = lab.replay(&target.url(), &[]);
    problems
        .extend(unless(none.code == Some(3), || format!("no exchange: {:?}: {}", none.code, none.stderr)));
    // One request; and a hundred at the same moment, written in the wrong order.
    let same = |at: u64, ms: u64| Recorded {
        arrived: Duration::from_millis(ms),
        connection: at,
        method: "GET",
        target: format!("/{at}"),
        body: Vec::new(),
    };
    let several: [Vec<Recorded>; 3] = [
        vec![same(0, 0)],
        (0..100).map(|at| same(at, 0)).collect(),
        (0..100).map(|at| same(at, 1_000 - at * 10)).collect(),
    ];
    let mut last = None;
    for requests in several {
        let _ = std::fs::remove_file(lab.path("r.run"));
        lab.written(&requests);
        let left = lab.replay(&target.url(), &[]);
        problems.extend(unless(left.number("ok") == requests.len() as u64, || format!("{}", left.summary)));
        last = Some(left);
    }
    // A damaged block: what is whole is replayed, and the damage is said.
    let _ = std::fs::remove_file(lab.path("r.run"));
    let path = lab.capture(2_000, 3);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    std::fs::write(&path, bytes).unwrap();
    let damaged = lab.command(&target.url(), &["--duration", "200ms"]).output().unwrap();
    problems.extend(unless(stderr(&damaged).contains("checksum"), || {
        format!("damage is not said: {}", stderr(&damaged))
    }));
    lab.written(&[same(0, 0), same(1, 500)]);
    let left = last.unwrap();
    [
        Verdict::of(
            &unless(lab.origin.connections() == 0, || "the origin was touched".to_owned()),
            "only the target",
        ),
        Verdict::of(&problems, "each in its order, damage said"),
        Verdict::of(&left.bounded(), "within bounds"),
        Verdict::of(
            &unless(left.code == Some(0) || left.code == Some(5), || left.stderr.clone()),
            "documented exit codes",
        ),
    ]
}

/// L19: the run's file may grow to 8 KiB only.
pub(super) fn no_room(lab: &Lab) -> Cells {
    lab.capture(200, 8);
    let target = Target::start(well);
    let began = now();
    // The signal is ignored, so that a write above the limit fails like one on a full disk.
    let by = ["bash", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""];
    let output = lab.wrapped(&by, &target.url(), &[]).output().unwrap();
    let left = lab.left(&output, began);
    let seen = target.requests().len();
    let mut usable = unless(left.code == Some(1), || format!("exit code {:?}: {}", left.code, left.stderr));
    usable.extend(unless(left.stderr.contains("cannot be written"), || left.stderr.clone()));
    usable.extend(unless(left.stderr.contains("requests planned"), || "the totals are lost".to_owned()));
    usable.extend(unless(left.run.is_some(), || "what was written is not readable".to_owned()));
    let total = left.run.as_ref().map_or(0, |run| run.overall().total());
    [
        Verdict::of(&lab.safe(&target, &[]), "nothing but what was planned"),
        Verdict::of(
            &unless(total <= seen as u64, || format!("{total} outcomes of {seen}")),
            "nothing made up",
        ),
        Verdict::Holds("ended".to_owned()),
        Verdict::of(&usable, "said, with the totals, exit code 1"),
    ]
}

/// L20: a hundred a second where seventy are carried; no more than 150 may wait.
pub(super) fn slow(lab: &Lab) -> Cells {
    let requests: Vec<Recorded> = (0..1_000_u64)
        .map(|at| Recorded {
            arrived: Duration::from_millis(at * 10),
            connection: at % 20,
            method: "GET",
            target: format!("/{at}"),
            body: Vec::new(),
        })
        .collect();
    lab.written(&requests);
    let one_at_a_time = Arc::new(std::sync::Mutex::new(()));
    let target = Target::start(move |stream, turn, overall| {
        let _turn = one_at_a_time.lock().unwrap();
        pause(Duration::from_micros(14_200));
        well(stream, turn, overall)
    });
    let more = ["--breaker", "off", "--max-backlog", "150"];
    let left = lab.replay(&target.url(), &more);
    let (backlog, p99) = (left.error("backlog"), left.summary["latency_ms"]["p99"].as_f64().unwrap_or(0.0));
    let mut extra = unless(backlog > 0, || format!("the backlog had no bound: {}", left.summary));
    // 170 waiting at 70 a second is two seconds and a half: who hides that measures a closed loop.
    extra.extend(unless(p99 > 1_500.0, || format!("p99 of the latency {p99} ms: waiting is hidden")));
    left.judged(lab, &target, &more, &[0], &extra)
}
