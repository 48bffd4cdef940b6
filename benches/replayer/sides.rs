//! CPU per request beside other generators, against the same nginx.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::median;
use crate::support::nginx::Nginx;
use crate::support::{Recorded, has, write_capture};

pub(crate) const CONNECTIONS: u64 = 64;
pub(crate) const REQUESTS: u64 = 192_000;
/// The mix of the capture: some pages, one of them often.
const PAGES: [&str; 8] =
    ["/a.json", "/a.json", "/a.json", "/b.json", "/a.json", "/c.json", "/b.json", "/d.json"];

/// A generator: its name, its program, and what it is told; `URL` and `N` are filled in.
struct Side {
    name: &'static str,
    program: PathBuf,
    command: &'static str,
}

/// Those that are here.
fn sides() -> Vec<Side> {
    let known: [(&str, &str, &str, &str); 6] = [
        ("wrk", "wrk", "", "-t1 -c64 -d3s URL"),
        ("h2load", "h2load", "", "--h1 -t1 -c64 -nN URL"),
        ("ab", "ab", "", "-q -k -c64 -nN URL"),
        ("hey", "hey", "HEY", "-c 64 -n N URL"),
        ("oha", "oha", "OHA", "--no-tui -c 64 -n N URL"),
        ("k6", "", "K6", "run --quiet --vus 64 --iterations N SCRIPT"),
    ];
    known
        .into_iter()
        .filter_map(|(name, program, variable, command)| {
            let named = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
            let found =
                named.or_else(|| (!program.is_empty() && installed(program)).then(|| PathBuf::from(program)));
            if found.is_none() {
                eprintln!(
                    "left out: {name} is not here{}",
                    if variable.is_empty() { String::new() } else { format!(" (name it by {variable}=…)") }
                );
            }
            found.map(|program| Side { name, program, command })
        })
        .collect()
}

fn installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).exists())
}

/// Prints the cost of a request, ours and theirs, and the ratios.
pub(crate) fn compare(rounds: usize) {
    if !has("nginx") || !has("bash") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for page in ["a.json", "b.json", "c.json", "d.json"] {
        std::fs::write(root.join(page), "x".repeat(1_024)).unwrap();
    }
    let nginx = Nginx::start(folder.path(), Some(&root));
    let capture = folder.path().join("mix.capture");
    write_capture(&capture, &mixed());
    let others = sides();
    println!(
        "CPU per request in µs, whole process: {CONNECTIONS} connections back to back, one thread, nginx, 1 KiB answers"
    );
    println!(
        "ours replays a capture of {} requests with a mix of pages; the others ask for one page",
        REQUESTS
    );
    let mut ratios: Vec<Vec<f64>> = others.iter().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        let ours = ours(folder.path(), &capture, &nginx.address(), round);
        let mut line = format!("round {round}: ours {ours:.2}");
        for (side, ratios) in others.iter().zip(&mut ratios) {
            match theirs(side, folder.path(), &nginx.address()) {
                Some(cost) => {
                    ratios.push(ours / cost);
                    line.push_str(&format!("  {} {cost:.2}", side.name));
                }
                None => line.push_str(&format!("  {} failed", side.name)),
            }
        }
        println!("{line}");
    }
    for (side, ratios) in others.iter().zip(&mut ratios).filter(|(_, ratios)| !ratios.is_empty()) {
        let goal = if side.name == "wrk" { " (goal ≤ 1.0)" } else { "" };
        println!("ours ÷ {}: median {:.3}{goal}", side.name, median(ratios));
    }
}

/// Everything is due in the first milliseconds: each connection then sends as soon as it is answered.
fn mixed() -> Vec<Recorded> {
    (0..REQUESTS)
        .map(|at| Recorded {
            arrived: Duration::from_nanos(at),
            connection: at % CONNECTIONS,
            method: "GET",
            target: PAGES[usize::try_from(at / CONNECTIONS % 8).unwrap()].to_owned(),
            body: Vec::new(),
        })
        .collect()
}

fn ours(folder: &Path, capture: &Path, address: &str, round: usize) -> f64 {
    let run = folder.join(format!("{round}.run"));
    let command = format!(
        "{} replay {} --target http://{address} --threads 1 --quiet --out {}",
        env!("CARGO_BIN_EXE_highwater"),
        capture.display(),
        run.display()
    );
    let (_, cpu) = timed(&command);
    let sent = captures::Run::read(std::fs::File::open(&run).unwrap()).unwrap().overall().service.len();
    assert_eq!(sent, REQUESTS);
    cpu * 1e6 / sent as f64
}

fn theirs(side: &Side, folder: &Path, address: &str) -> Option<f64> {
    let url = format!("http://{address}/a.json");
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let command = side.command.replace("URL", &url).replace(
        "SCRIPT",
        &file("k6.js", format!("import http from 'k6/http'; export default () => http.get('{url}');\n")),
    );
    let words: Vec<String> =
        command
            .split(' ')
            .map(|word| {
                if word == "N" { REQUESTS.to_string() } else { word.replace("-nN", &format!("-n{REQUESTS}")) }
            })
            .collect();
    let (output, cpu) = timed(&format!("{} {}", side.program.display(), words.join(" ")));
    let count = if side.name == "wrk" {
        let line = output.lines().find(|line| line.contains(" requests in "))?;
        line.split_whitespace().next()?.parse::<f64>().ok()?
    } else {
        REQUESTS as f64
    };
    Some(cpu * 1e6 / count)
}

/// What a command printed, and the user and system seconds of its whole process.
pub(crate) fn timed(command: &str) -> (String, f64) {
    let script = format!("TIMEFORMAT='%3U %3S'; time {command}");
    let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let seconds = stderr
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .filter_map(|text| text.parse::<f64>().ok())
        .sum();
    (String::from_utf8_lossy(&output.stdout).into_owned(), seconds)
}
