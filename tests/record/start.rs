//! Around the start of a recorder: what it refuses, what it leaves alone, and what it asks of the machine.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use captures::CaptureReader;

use super::faults::limited;
use super::{GET, OK, Recorder, answering};
use crate::support::{Running, free_port, has, highwater, run, stderr, until};

#[test]
fn a_recording_that_cannot_start_says_why_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let existing = folder.path().join("existing.capture");
    std::fs::write(&existing, b"precious").unwrap();
    let new = folder.path().join("new.capture");
    let (existing, new) = (existing.to_str().unwrap(), new.to_str().unwrap());
    let free = format!("127.0.0.1:{}", free_port());

    let check = |listen: &str, upstream: &str, out: &str, code: i32, part: &str| {
        let output = run(&["record", "--listen", listen, "--upstream", upstream, "--out", out]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("highwater: ") && said.contains(part) && said.contains("; "), "{said}");
    };
    check(&taken, "127.0.0.1:9", new, 1, &format!("{taken}: address in use"));
    check(&free, &free, new, 2, "upstream is the address to listen on");
    check(&free.replace("127.0.0.1", "0.0.0.0"), &free, new, 2, "upstream is the address to listen on");
    check(&free, "no-such-name.invalid:80", new, 4, "no-such-name.invalid:80: no address");
    check(&free, "shop", new, 2, "has no port");
    check("127.0.0.1:99999", "127.0.0.1:9", new, 2, "--listen 127.0.0.1:99999: the port is out of range");
    check("nowhere", "127.0.0.1:9", new, 2, "--listen nowhere");
    check("192.0.2.1:80", "127.0.0.1:9", new, 1, "192.0.2.1:80: cannot listen");
    check(&free, "127.0.0.1:9", existing, 2, "exists already");
    check(&free, "127.0.0.1:9", "/no/such/folder/x.capture", 1, "cannot be written");
    assert_eq!(std::fs::read(existing).unwrap(), b"precious");
    assert!(!std::path::Path::new(new).exists());
}

#[test]
fn a_recording_that_cannot_start_costs_no_older_capture() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.capture"), folder.path().join("new.capture"));
    std::fs::write(&old, b"precious").unwrap();
    std::fs::set_permissions(&old, PermissionsExt::from_mode(0o640)).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = format!("127.0.0.1:{}", free_port());

    for (listen, upstream, code) in [
        (&free, free.as_str(), 2),
        (&free, "no-such-name.invalid:80", 4),
        (&taken, "127.0.0.1:9", 1),
        (&"192.0.2.1:80".to_owned(), "127.0.0.1:9", 1),
    ] {
        for out in [&old, &new] {
            let out = out.to_str().unwrap();
            let args = ["record", "--force", "--listen", listen, "--upstream", upstream, "--out", out];
            let output = run(&args);
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        }
    }

    assert_eq!(std::fs::read(&old).unwrap(), b"precious");
    assert_eq!(std::fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(!new.exists());
}

#[test]
fn a_file_is_replaced_only_by_force_and_never_under_another_recorder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("test.capture"), vec![b'x'; 100_000]).unwrap();
    let recorder = Recorder::start(folder.path(), answering(OK), &["--force"]);
    recorder.ask(GET);

    let capture = folder.path().join("test.capture");
    let args = ["record", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--force", "--out"];
    let second = run(&[&args[..], &[capture.to_str().unwrap()]].concat());

    assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
    let mode = std::fs::metadata(&capture).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(recorder.stop().0.len(), 1);
}

#[test]
fn the_limit_of_descriptors_is_raised_as_far_as_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start_as(limited("-Sn 60"), folder.path(), answering(OK), &[]);

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", recorder.process.0.id())).unwrap();

    let descriptors = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let [soft, hard] = std::array::from_fn(|at| descriptors.split_whitespace().nth(at).unwrap());
    assert_eq!(soft, hard);
    assert_ne!(soft, "60");
}

#[test]
fn broken_certificates_of_the_machine_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("broken.pem");
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let mut command = highwater();
    command.env("SSL_CERT_FILE", certificate);
    let recorder = Recorder::start_as(command, folder.path(), answering(OK), &[]);

    assert!(recorder.ask(GET).ends_with("ok"));

    assert_eq!(recorder.stop().0.len(), 1);
}

#[test]
fn a_lost_terminal_is_a_stop_unless_it_is_ignored() {
    if !has("script") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut script = Command::new("sh");
    // A terminal of its own, which is lost when `script` is killed.
    let start = "exec script -qec \"exec $0 $*\" /dev/null";
    script.args(["-c", start, env!("CARGO_BIN_EXE_highwater")]).stdin(Stdio::piped());
    script.args(["record", "--listen", "127.0.0.1:0", "--upstream", "127.0.0.1:9", "--out"]);
    let capture = folder.path().join("test.capture");
    let mut terminal = Running(script.arg(&capture).stdout(Stdio::null()).spawn().unwrap());
    until("the recorder to have begun", || capture.metadata().is_ok_and(|file| file.len() > 0).then_some(()));

    terminal.0.kill().unwrap();
    terminal.0.wait().unwrap();

    until("the capture to be closed", || {
        let mut reader = CaptureReader::open(std::fs::File::open(&capture).unwrap()).unwrap();
        reader.by_ref().for_each(drop);
        reader.closed().then_some(())
    });

    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_highwater")]);
    let recorder = Recorder::start_as(nohup, folder.path(), answering(OK), &["--force"]);
    recorder.signal("HUP");
    recorder.ask(GET);
    recorder.ask(GET);
    assert_eq!(recorder.stop().0.len(), 2);
}
