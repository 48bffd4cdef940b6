//! The files in `deploy/`: what they name exists, and what they configure is accepted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use crate::config::flags_of;
use crate::record::operation::{metrics, watched};
use crate::record::{GET, OK, answering};
use crate::support::{has, run, stderr, until};

fn deployed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deployed(name)).unwrap()
}

#[test]
fn dashboard_and_alerts_name_only_metrics_that_a_recorder_exports() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, admin) = watched(folder.path(), answering(OK), &[]);
    recorder.ask(GET);
    let exported: BTreeSet<String> = until("the request to be counted", || {
        let metrics = metrics(admin);
        let names = metrics.keys().map(|name| name.split('{').next().unwrap().to_owned());
        (metrics["highwater_exchanges_recorded_total"] > 0.0).then(|| names.collect())
    });

    for file in ["grafana-dashboard.json", "prometheus-rules.yaml"] {
        let text = text(file);
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let named: BTreeSet<&str> =
            words.filter(|word| word.starts_with("highwater_") || word.starts_with("process_")).collect();
        assert!(named.len() > 8, "{file}: {named:?}");
        for name in named {
            assert!(exported.contains(name), "{file} names {name}");
        }
    }
    recorder.stop();
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard: serde_json::Value = serde_json::from_str(&text("grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let count = |bracket| expression.matches(bracket).count();
            assert_eq!(count('('), count(')'), "{expression}");
            assert_eq!(count('{'), count('}'), "{expression}");
        }
    }
}

#[test]
fn the_manifests_are_yaml() {
    if !has("python3") || !Command::new("python3").args(["-c", "import yaml"]).status().unwrap().success() {
        eprintln!("skipped: python3 has no yaml");
        return;
    }
    for name in ["prometheus-rules.yaml", "kubernetes-sidecar.yaml"] {
        let script =
            "import sys, yaml; print(len([each for each in yaml.safe_load_all(open(sys.argv[1])) if each]))";
        let read = Command::new("python3").args(["-c", script]).arg(deployed(name)).output().unwrap();
        assert!(read.status.success(), "{name}: {}", stderr(&read));
    }
}

/// Checks a configuration, with the folders that are there when it is deployed put elsewhere.
fn check_config(text: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("highwater.toml");
    std::fs::write(&path, text).unwrap();
    let checked = run(&["record", "--config", path.to_str().unwrap(), "--check"]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
}

#[test]
fn the_configurations_are_accepted() {
    check_config(&text("highwater.toml"));
    let manifest = text("kubernetes-sidecar.yaml");
    let inner = manifest.split("highwater.toml: |\n").nth(1).unwrap();
    let lines = inner.lines().take_while(|line| line.starts_with("    "));
    check_config(&lines.map(|line| line.trim_start().to_owned() + "\n").collect::<String>());
}

#[test]
fn the_example_shows_every_flag_of_the_recorder() {
    let example = text("highwater.toml");
    let shown: BTreeSet<&str> = example
        .lines()
        .map(|line| line.trim_start_matches(['#', ' ']))
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    let mut flags = flags_of("record");
    // Who wants to look at something types so.
    flags.retain(|flag| !["check", "explain-policy", "json"].contains(&flag.as_str()));
    let missing: Vec<&String> = flags.iter().filter(|flag| !shown.contains(flag.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<&&str> = shown.iter().filter(|shown| !flags.iter().any(|flag| flag == *shown)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
