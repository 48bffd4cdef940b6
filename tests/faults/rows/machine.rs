//! Limits of the machine, and being told to end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use captures::EventKind;

use crate::accounts::Kept;
use crate::chaos::{Injection, MemoryGroup, capture_of, installed, sh};
use crate::drive::{Drive, Outcome};
use crate::scenario::{Effort, Fault, Run, Scene};
use crate::support::{now, pause};

/// R24: no descriptors left.
#[derive(Default)]
pub(crate) struct Descriptors {
    clients: Vec<TcpStream>,
}

impl Fault for Descriptors {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        installed("prlimit")?;
        Ok(folder.to_owned())
    }

    fn begin(&mut self, scene: &mut Scene) {
        let process = scene.subject.id();
        sh(&format!("prlimit --pid {process} --nofile=128:128")).unwrap();
        self.clients = (0..300).map(|_| TcpStream::connect(scene.to()).unwrap()).collect();
        // Those that fit hold on to their descriptors with a request that is never complete.
        for client in &mut self.clients {
            let _ = client.write_all(b"GET /plain HTTP/1.1\r\n");
        }
        scene.connections = 300;
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(4)
    }

    fn end(&mut self, scene: &mut Scene) {
        self.clients.clear();
        // A connection that had to wait is taken within a second.
        let began = now();
        let Ok(mut fresh) = TcpStream::connect(scene.to()) else { return };
        let _ = fresh.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = fresh.write_all(b"GET /plain HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        let _ = fresh.read_to_string(&mut answer);
        if !answer.ends_with("ok") || began.elapsed() > Duration::from_secs(2) {
            scene.noticed.push((5, format!("after {:?} a new connection got {answer:?}", began.elapsed())));
        }
        let _ = sh(&format!("prlimit --pid {} --nofile=4096:4096", scene.subject.id()));
    }

    fn tolerates(&self, outcome: &Outcome, within: bool) -> bool {
        within && matches!(outcome, Outcome::Status(502) | Outcome::Broken(_))
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        // The mix goes on beside it: what that takes on a busy machine is far below a whole processor.
        let share = run.used.cpu_seconds / run.used.seconds.max(0.1);
        if share > 0.9 { vec![(4, format!("{share:.2} of a processor was used"))] } else { Vec::new() }
    }

    fn delays(&self) -> bool {
        true
    }
}

/// R25: 256 MiB of memory, and a disk that takes next to nothing.
#[derive(Default)]
pub(crate) struct Memory {
    group: Option<MemoryGroup>,
    injection: Option<Injection>,
}

impl Fault for Memory {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        Injection::possible()?;
        self.group = None;
        self.group = Some(MemoryGroup::of(256)?);
        Ok(folder.to_owned())
    }

    fn begin(&mut self, scene: &mut Scene) {
        let process = scene.subject.id();
        self.group.as_ref().unwrap().add(process);
        if capture_of(process).is_some() {
            let what = ["write:delay_enter=1500000", "pwrite64:delay_enter=1500000"];
            self.injection = Some(Injection::begin(process, &what));
        }
        // Much more than the disk takes.
        let more = Drive::start(scene.to(), 8, 100_000.0, scene.next);
        pause(Duration::from_secs(if scene.effort.quick { 1 } else { 8 }));
        scene.sent = more.stop();
        scene.connections = 8;
        if !scene.subject.is_running() {
            scene.noticed.push((4, "it was killed for its memory".to_owned()));
        }
    }

    fn lasts(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn end(&mut self, _: &mut Scene) {
        if let Some(injection) = self.injection.take() {
            injection.end();
        }
    }

    fn stalls(&self) -> bool {
        true
    }

    fn delays(&self) -> bool {
        true
    }
}

/// R26: a new binary takes over, again and again.
#[derive(Default)]
pub(crate) struct Upgrades {
    socket: PathBuf,
}

impl Fault for Upgrades {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        self.socket = folder.join("upgrade.sock");
        Ok(folder.to_owned())
    }

    fn flags(&self) -> Vec<String> {
        vec!["--upgrade-socket".to_owned(), self.socket.display().to_string()]
    }

    fn begin(&mut self, scene: &mut Scene) {
        for upgrade in 0..scene.effort.of(20) {
            if let Err(problem) = scene.subject.succeed() {
                scene.noticed.push((5, format!("upgrade {upgrade}: {problem}")));
                return;
            }
            pause(Duration::from_millis(500));
        }
    }

    fn also(&mut self, run: &Run) -> Vec<(usize, String)> {
        let kept = run.kept.as_ref().unwrap();
        let seams = kept.events.iter().filter(|event| event.kind == EventKind::TakenOver).count();
        if seams == 0 { vec![(2, "no file tells of the seam".to_owned())] } else { Vec::new() }
    }
}

/// R27: SIGTERM in the middle of traffic.
#[derive(Default)]
pub(crate) struct Stop {
    place: PathBuf,
}

impl Fault for Stop {
    fn prepare(&mut self, folder: &Path, _: Effort) -> Result<PathBuf, String> {
        self.place = folder.join("main");
        std::fs::create_dir(&self.place).unwrap();
        Ok(self.place.clone())
    }

    /// Others are stopped while they work, again and again; the one that is watched stays.
    fn begin(&mut self, scene: &mut Scene) {
        let recorded = capture_of(scene.subject.id()).is_some();
        for turn in 0..scene.effort.of(20) {
            let folder = tempfile::tempdir().unwrap();
            let origin = crate::origin::Origin::start();
            let out = folder.path().join("stop.capture");
            let out = recorded.then_some(out.as_path());
            let mut subject =
                crate::subject::Subject::start(crate::support::highwater(), origin.address, out, &[])
                    .unwrap();
            let drive = Drive::start(subject.address, 4, 400.0, &Arc::default());
            pause(Duration::from_millis(200 + 37 * turn as u64));
            let asked = now();
            subject.signal("TERM");
            let code = subject.ended().code();
            let took = asked.elapsed();
            let sent = drive.stop();
            if code != Some(0) || took > Duration::from_secs(5) {
                scene.noticed.push((5, format!("the stop took {took:?} and gave {code:?}")));
            }
            // An answer begun is an answer finished; who comes later finds the port closed.
            let cut = sent.iter().filter(|one| {
                matches!(&one.outcome, Outcome::Broken(why) if why == "unexpected end of file")
                    && one.at < asked
            });
            if cut.count() > 0 {
                scene.noticed.push((1, "requests in flight were cut off".to_owned()));
            }
            if recorded {
                let kept = Kept::read(folder.path());
                let problems = kept.problems(&sent, &origin.seen(), false);
                scene.noticed.extend(problems.into_iter().map(|problem| (2, format!("stopped: {problem}"))));
                if kept.unclosed > 0 || !kept.damage.is_empty() || !kept.unreadable.is_empty() {
                    scene.noticed.push((3, "the file is not closed".to_owned()));
                }
            }
        }
    }

    fn lasts(&self) -> Duration {
        Duration::ZERO
    }

    fn delays(&self) -> bool {
        true
    }
}
