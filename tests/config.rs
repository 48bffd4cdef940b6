//! `--config FILE`: what can be typed can stand in a file, and nothing in a file is ignored.

use std::path::{Path, PathBuf};

use crate::support::{run, stderr};

fn file(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("test.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// What `highwater COMMAND --config FILE MORE` complains of, with its exit code; nothing when it does not.
fn complaint(command: &str, text: &str, more: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), text);
    let output = run(&[&[command, "--config", path.to_str().unwrap()][..], more].concat());
    (output.status.code(), stderr(&output).replace(path.to_str().unwrap(), "FILE"))
}

const GOOD: &str = r#"
quiet = true
[record]
listen = "127.0.0.1:0"
upstream = "127.0.0.1:9"
out = "shop.capture"
threads = 2
record-replayed = false
mask-header = ["x-one", "x-two"]
"#;

#[test]
fn a_file_says_all_that_a_command_needs() {
    assert_eq!(complaint("record", GOOD, &["--check"]), (Some(0), String::new()));
}

#[test]
fn what_is_typed_wins_over_the_file() {
    let (code, said) = complaint("record", GOOD, &["--check", "--listen", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(said.starts_with("highwater: --listen nowhere: "), "{said}");
    // So it does over a flag of the file that contradicts it.
    assert_eq!(complaint("record", GOOD, &["--check", "--verbose"]), (Some(0), String::new()));
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    let check = |text: &str, expected: &str| {
        let (code, said) = complaint("record", text, &["--check"]);
        assert_eq!((code, said.lines().count()), (Some(2), 1), "{text}: {said}");
        assert!(said.starts_with(&format!("highwater: {expected}")), "{text}: {said} lacks {expected}");
    };
    let with = |line: &str| format!("{GOOD}{line}\n");
    check(
        &with("body_limit = \"1k\""),
        "FILE:10: `body_limit` is no flag of `record`; did you mean `body-limit`?",
    );
    check(&with("zzz = 1"), "FILE:10: `zzz` is no flag of `record`; highwater record --help lists");
    check(&with("force = \"yes\""), "FILE:10: `force` is a text, not true or false");
    check(&with("grace = true"), "FILE:10: `grace` is true or false, not a text or a number");
    check(&with("grace = [\"1s\"]"), "FILE:10: `grace` is a list, not a text or a number");
    check(&with("forwarded = 2026-11-21"), "FILE:10: `forwarded` is a date, not a text or a number");
    check(&with("grace = \"soon\""), "FILE:10: invalid value 'soon' for '--grace <TIME>'");
    check(&with("forwarded = \"most\""), "FILE:10: invalid value 'most' for '--forwarded <HOW>'");
    check(&with("config = \"other.toml\""), "FILE:10: `config` is no flag of `record`");
    check(
        &with("[replay]\ntargt = \"http://stage\""),
        "FILE:11: `targt` is no flag of `replay`; did you mean `target`?",
    );
    check(&with("[recrd]"), "FILE:10: `recrd` is no flag of highwater; did you mean `record`?");
    check(
        "listen = \"127.0.0.1:0\"",
        "FILE:1: `listen` is no flag of highwater; the flags of a command stand in",
    );
    check("record = 1", "FILE:1: `record` is a table, not a number; write [record] above its flags");
    check("quiet = true\nquiet = true", "FILE:2: ");
    check("[record", "FILE:1: ");
}

#[test]
fn a_file_that_cannot_be_read_is_a_bad_input() {
    let output = run(&["record", "--config", "/no/such.toml"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).starts_with("highwater: /no/such.toml: cannot be opened: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn every_flag_can_stand_in_a_file() {
    for command in ["record", "inspect", "replay", "model", "forecast", "report", "demo"] {
        let flags = flags_of(command);
        assert!(flags.len() > 3, "{flags:?}");
        for flag in flags {
            // A date is what no flag takes: the complaint shows that the flag is known.
            let (code, said) = complaint(command, &format!("[{command}]\n{flag} = 2026-11-21"), &[]);
            assert_eq!(code, Some(2));
            assert!(said.contains(&format!("FILE:2: `{flag}` is a date, not ")), "{said}");
        }
    }
}

/// The long names in the help of a command, but for those that make no sense in a file.
pub(crate) fn flags_of(command: &str) -> Vec<String> {
    let help = String::from_utf8(run(&[command, "--help"]).stdout).unwrap();
    let names = help.lines().filter_map(|line| {
        let line = line.trim_start();
        let long = line
            .strip_prefix("--")
            .or_else(|| line.get(4..)?.strip_prefix("--").filter(|_| line.starts_with('-')))?;
        long.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').next().map(str::to_owned)
    });
    names.filter(|name| !["help", "version", "config"].contains(&name.as_str())).collect()
}
