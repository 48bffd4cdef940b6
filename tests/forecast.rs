//! `highwater forecast` on histories of every kind, good and bad, by the real binary.

mod sources;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use jiff::ToSpan as _;

use crate::support::{highwater, json, run, stderr};

/// Days from `first` on.
fn days(first: &str, volumes: impl IntoIterator<Item = f64>) -> String {
    let first: jiff::civil::Date = first.parse().unwrap();
    let mut text = "ds,y\n".to_owned();
    for (day, volume) in volumes.into_iter().enumerate() {
        let date = first.checked_add((day as i64).days()).unwrap();
        writeln!(text, "{date},{volume:.0}").unwrap();
    }
    text
}

const WEEK: [f64; 7] = [1.05, 1.05, 1.05, 1.05, 1.05, 0.875, 0.875];

/// Forecasts `text` with further flags: the exit code, stdout as JSON where it is, and stderr.
fn forecast(text: &str, more: &[&str]) -> (i32, serde_json::Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("history.txt");
    std::fs::write(&history, text).unwrap();
    let out = folder.path().join("out");
    let mut args = vec!["forecast", "--history", history.to_str().unwrap(), "--json"];
    args.extend(["--out", out.to_str().unwrap()]);
    args.extend(more);
    let output = run(&args);
    let facts = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), facts, stderr(&output))
}

#[test]
fn a_bad_history_is_a_clear_line_or_a_good_answer() {
    let ordinary = |day: usize| 1e6 * WEEK[day % 7];
    let plain = days("2026-01-05", (0..120).map(ordinary));
    for (text, says) in [
        ("ds,y\n2026-01-05,10\n".to_owned(), "1 observations, a forecast needs 2"),
        (days("2026-01-05", [0.0; 60]), "all 60 observations are zero"),
        (plain.replace("2026-02-10,", "2026-02-10,-"), "is not a number of zero or more"),
        (plain.replace("2026-02-10", "soon"), "line 38: 'soon' is not a moment"),
        ("ds,y\n2026-01-01,1\n2026-01-02,2\n2026-01-02,3\n".to_owned(), "is there twice, with different"),
        ("no table at all\nat all\n".to_owned(), "has no comma"),
        (String::new(), "0 observations"),
    ] {
        let (code, _, complaint) = forecast(&text, &["--horizon", "4w"]);
        assert_eq!(code, 3, "{complaint}");
        assert!(complaint.contains(says) && complaint.lines().count() == 1, "{says}: {complaint}");
    }

    let near = |facts: &serde_json::Value, mean: f64| {
        let steps = facts["steps"].as_array().unwrap();
        let found = steps.iter().map(|step| step["yhat"].as_f64().unwrap()).sum::<f64>() / steps.len() as f64;
        assert!((found / mean - 1.0).abs() < 0.1, "{found}, not {mean}");
    };
    let told = |facts: &serde_json::Value, words: &str| {
        assert!(facts["warnings"].to_string().contains(words), "{words}: {}", facts["warnings"]);
    };
    // A month without a line.
    let gap = plain.lines().filter(|line| !line.starts_with("2026-03")).collect::<Vec<_>>().join("\n");
    let (code, facts, complaint) = forecast(&gap, &["--horizon", "4w"]);
    assert_eq!(code, 0, "{complaint}");
    near(&facts, 1e6);
    told(&facts, "31 of 120 steps are missing");
    told(&facts, "The longest gap is 31 steps");
    // Twice the traffic from one day on, seven weeks ago.
    let stepped = days("2026-01-05", (0..120).map(|day| ordinary(day) * if day < 70 { 1.0 } else { 2.0 }));
    near(&forecast(&stepped, &["--horizon", "2w"]).1, 2e6);
    // From the last day to the first.
    let mut lines: Vec<&str> = plain.lines().skip(1).collect();
    lines.reverse();
    let (_, facts, _) = forecast(&lines.join("\n"), &["--horizon", "4w"]);
    near(&facts, 1e6);
    told(&facts, "was not in order");
}

#[test]
fn hours_of_two_time_zones_are_one_history() {
    let mut text = "ds,y\n".to_owned();
    let begin: jiff::Timestamp = "2026-03-20T00:00:00Z".parse().unwrap();
    for hour in 0..480_i64 {
        let at = begin.checked_add(hour.hours()).unwrap();
        // The clocks of Berlin are changed on 2026-03-29; New York's offset stands in every second line.
        let zone = jiff::tz::TimeZone::get(if hour % 2 == 0 { "Europe/Berlin" } else { "America/New_York" });
        let there = at.to_zoned(zone.unwrap());
        let volume = 5_000.0 * (1.5 + (std::f64::consts::TAU * hour as f64 / 24.0).sin());
        writeln!(text, "{},{volume:.0}", there.strftime("%Y-%m-%dT%H:%M:%S%:z")).unwrap();
    }
    let (code, facts, complaint) = forecast(&text, &["--horizon", "24h"]);
    assert_eq!(code, 0, "{complaint}");
    assert_eq!((&facts["history_steps"], &facts["step_seconds"]), (&480.into(), &3_600.into()));
    let first = &facts["steps"][6];
    assert!((first["yhat"].as_f64().unwrap() / 12_500.0 - 1.0).abs() < 0.05, "{first}");
}

#[test]
fn an_access_log_is_counted_by_the_minute_and_its_peaks_are_kept() {
    let mut text = String::new();
    let begin: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    // Sixty hours: two requests a minute, eight in the first minute of each hour.
    for minute in 0..3_601_i64 {
        let at = begin.checked_add(minute.minutes()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
        for request in 0..if minute % 60 == 0 { 8 } else { 2 } {
            let stamp = at.strftime("%d/%b/%Y:%H:%M");
            writeln!(
                text,
                "10.0.0.1 - - [{stamp}:{:02} +0000] \"GET /{request} HTTP/1.1\" 200 12 \"-\" \"-\"",
                request * 7
            )
            .unwrap();
        }
    }
    text.push_str("a line that holds no moment\n");
    let (code, facts, complaint) = forecast(&text, &["--horizon", "12h", "--capacity", "1rps"]);
    assert_eq!(code, 0, "{complaint}");
    assert_eq!(facts["step_seconds"], 3_600);
    // 126 requests an hour; the busiest minute has 8 · 60 / 126 = 3.81 times the mean.
    assert!((facts["steps"][0]["yhat"].as_f64().unwrap() / 126.0 - 1.0).abs() < 0.01);
    assert!((facts["peak_factor"].as_f64().unwrap() - 3.81).abs() < 0.01, "{}", facts["peak_factor"]);
    assert!(facts["warnings"].to_string().contains("1 of 7569 lines"), "{}", facts["warnings"]);
}

/// Answers the range API of Prometheus with a day that comes again, until `pages` were asked for.
fn prometheus(listener: &TcpListener, pages: usize) {
    for _ in 0..pages {
        let (mut stream, _) = listener.accept().unwrap();
        answer(&mut stream);
    }
}

fn answer(stream: &mut TcpStream) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    reader.read_line(&mut head).unwrap();
    let mut line = String::from("-");
    while line.trim() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let number = |name: &str| -> i64 {
        let rest = head.split(&format!("{name}=")).nth(1).unwrap();
        rest.split(['&', ' ']).next().unwrap().parse().unwrap()
    };
    let (from, to, step) = (number("start"), number("end"), number("step"));
    assert!((to - from) / step < 11_000, "a server answers no more points: {head}");
    let values: Vec<String> = (0..=(to - from) / step)
        .map(|index| {
            let at = from + index * step;
            let hour = at.rem_euclid(86_400) as f64 / 3_600.0;
            format!("[{at},\"{}\"]", 10.0 + 5.0 * (std::f64::consts::TAU * hour / 24.0).sin())
        })
        .collect();
    let values = values.join(",");
    // Two series, to be added up.
    let series = format!("{{\"metric\":{{}},\"values\":[{values}]}}");
    let body = format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{series},{series}]}}}}"
    );
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
}

#[test]
fn prometheus_is_asked_page_by_page() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // 300 days of hours are 7 200 points: two pages.
    let server = std::thread::spawn(move || prometheus(&listener, 2));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = highwater()
        .args(["forecast", "--history", &format!("prometheus=http://{address}"), "--since", "300d"])
        .args(["--query", "sum(rate(http_requests_total[5m]))", "--horizon", "24h", "--json", "--quiet"])
        .args(["--out", out.to_str().unwrap()])
        .output()
        .unwrap();
    let facts = json(&output, 0);
    server.join().unwrap();
    assert_eq!(facts["history_steps"], 7_200);
    let sum: f64 = facts["steps"].as_array().unwrap().iter().map(|step| step["yhat"].as_f64().unwrap()).sum();
    // Twenty a second over a day.
    assert!((sum / (20.0 * 86_400.0) - 1.0).abs() < 0.02, "{sum}");

    let output = highwater()
        .args(["forecast", "--history", "prometheus=http://127.0.0.1:1", "--query", "up", "--out"])
        .arg(out.join("none"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}

#[test]
fn machines_cost_and_futures_reach_every_form_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let growing = (0..400).map(|day| 20e6 * WEEK[day % 7] * (0.0015 * day as f64).exp());
    std::fs::write(at("requests.csv"), days("2025-01-06", growing)).unwrap();
    std::fs::write(at("prices.toml"), "currency = \"EUR\"\ninstance_per_month = 200.0\n").unwrap();
    let ask = |more: &[&str]| {
        let mut args = vec!["forecast".to_owned(), "--history".to_owned(), at("requests.csv")];
        args.extend(
            ["--capacity", "520rps", "--instances", "4", "--lead-time", "3w", "--json"].map(str::to_owned),
        );
        args.extend(["--peak-factor", "1.2", "--out"].map(str::to_owned));
        args.push(at("out"));
        args.extend(more.iter().map(|&text| text.to_owned()));
        highwater().args(&args).output().unwrap()
    };
    let prices = at("prices.toml");
    let facts = json(
        &ask(&["--prices", &prices, "--scenario", "viral=growth:2", "--scale-out", "1=135,2=265,4=520"]),
        0,
    );
    assert_eq!(facts["plan"]["months"].as_array().unwrap().len(), 7);
    assert_eq!(facts["plan"]["scale_out_assumed"], false);
    assert!(facts["plan"]["orders"][0]["by"].is_string(), "{}", facts["plan"]);
    assert_eq!(facts["scenarios"][1]["assumed"]["name"], "viral");
    assert!(facts["scenarios"][1]["cost"].as_f64() > facts["scenarios"][0]["cost"].as_f64());
    for name in ["index.html", "report.md", "report.json", "report.schema.json", "junit.xml", "machines.csv"]
    {
        assert!(Path::new(&at("out")).join(name).exists(), "{name}");
    }
    let page = std::fs::read_to_string(Path::new(&at("out")).join("index.html")).unwrap();
    assert!(page.contains("Machines and cost by month") && page.contains("viral"));

    // What was written is drawn again from its files alone.
    let again = run(&["report", &at("out"), "--out", &at("again"), "--quiet"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let page = std::fs::read_to_string(Path::new(&at("again")).join("index.html")).unwrap();
    assert!(page.contains("Machines and cost by month") && page.contains("viral"));

    for (flags, says) in [
        (vec!["--scenario", "viral=speed:2"], "knows growth, traffic, event, cost and 'mix ROUTE' only"),
        (vec!["--scale-out", "1=150"], "three fleets of different size"),
        (vec!["--prices", &at("requests.csv")], "requests.csv"),
        (vec!["--event", "Launch=2026-03-01"], "has no multiple, and the history holds no day of that name"),
        (vec!["--risk", "0"], "is not a share above zero"),
        (vec!["--target-utilisation", "200%"], "is not a share above zero"),
    ] {
        let output = ask(&flags);
        let complaint = stderr(&output);
        assert!(matches!(output.status.code(), Some(2 | 3)), "{complaint}");
        assert!(complaint.contains(says), "{says}: {complaint}");
    }
}

#[test]
fn holidays_of_a_file_or_a_country_are_what_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("holidays.csv");
    std::fs::write(
        &file,
        "date,name\n2025-12-25,Christmas Day\n2026-12-25,Christmas Day\n2026-12-26,St Stephen\n",
    )
    .unwrap();
    let first: jiff::civil::Date = "2025-06-02".parse().unwrap();
    let christmas: jiff::civil::Date = "2025-12-25".parse().unwrap();
    // Half the traffic on Christmas Day.
    let volume = |day: usize| {
        let date = first.checked_add((day as i64).days()).unwrap();
        1e6 * WEEK[day % 7] * if date == christmas { 0.5 } else { 1.0 }
    };
    let text = days("2025-06-02", (0..540).map(volume));
    let (code, facts, complaint) =
        forecast(&text, &["--horizon", "6w", "--holidays", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{complaint}");
    let multiple_on = |day: &str| {
        let steps = facts["steps"].as_array().unwrap();
        let step = steps.iter().find(|step| step["ds"].as_str().unwrap().starts_with(day)).unwrap();
        step["event_multiple"].as_f64().unwrap()
    };
    assert!((multiple_on("2026-12-25") - 0.5).abs() < 0.02, "{}", facts["events"]);
    assert_eq!(multiple_on("2026-12-26"), 1.0);
    assert!(facts["warnings"].to_string().contains("St Stephen (2026-12-26) is taken as an ordinary day"));
    // The same of a country, by its code.
    let (code, facts, complaint) = forecast(&text, &["--horizon", "6w", "--holidays", "DE"]);
    assert_eq!(code, 0, "{complaint}");
    let events = facts["events"].as_array().unwrap();
    let day = events.iter().find(|event| event["first"] == "2026-12-25").unwrap();
    assert_eq!(day["name"], "DE: 25 December");
    assert!((day["multiple"].as_f64().unwrap() - 0.5).abs() < 0.02, "{day}");
    let (code, _, complaint) = forecast(&text, &["--holidays", "XX"]);
    assert!(code == 2 && complaint.contains("is no country whose holidays are known"), "{complaint}");
}
