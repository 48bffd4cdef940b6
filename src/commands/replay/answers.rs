//! Keeps the answers of a replay beside its run, and says how many of them were like the recorded ones.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Arc, Mutex};

use captures::{Bytes, CaptureHeader, CaptureWriter, Masking, RunHeader, Tally};
use replayer::Finished;
use replayer::answers::{AnswersKept, Compared, KeepAnswers, Tolerance};
use serde_json::{Value, json};

use super::args::ReplayArgs;
use crate::commands::diff::answers::{Wanted, compare, path};
use crate::commands::files;
use crate::complain::Complaint;

/// No more bytes of requests and answers are kept.
const MOST_BYTES: Bytes = Bytes::new(256 << 20);

type Shared = Arc<Mutex<Option<CaptureWriter<BufWriter<File>>>>>;

/// The file of answers while it is written.
pub(super) struct Answers {
    writer: Shared,
    run: std::path::PathBuf,
}

/// Begins the file of answers, if there is to be one.
pub(super) fn begin(
    args: &ReplayArgs,
    run: &Path,
    header: &RunHeader,
) -> Result<Option<(Answers, KeepAnswers)>, Complaint> {
    let Some(most) = args.answers else { return Ok(None) };
    let header = CaptureHeader {
        tool: header.tool.clone(),
        started: header.started,
        listen: Vec::new(),
        upstream: vec![header.target.clone()],
        servers: vec![header.target.clone()],
        recording: header.capture_digest[..16].try_into().unwrap_or_default(),
        segment: 0,
        session_keys: vec!["replayed".to_owned()],
        filters: Vec::new(),
        masking: Masking::None,
        sampling_ratio: 1.0,
        body_limit: 256 << 10,
    };
    let writer = files::create_capture(&path(run), &header)?;
    let writer: Shared = Arc::new(Mutex::new(Some(writer)));
    let into = Arc::clone(&writer);
    let sink = move |exchange: &captures::Exchange| {
        let Ok(mut writer) = into.lock() else { return false };
        writer.as_mut().is_some_and(|writer| writer.push(exchange).is_ok())
    };
    let keep = KeepAnswers { most, most_bytes: MOST_BYTES, sink: Box::new(sink) };
    Ok(Some((Answers { writer, run: run.to_owned() }, keep)))
}

impl Answers {
    /// Closes the file, and compares what is in it with the recorded answers.
    pub(super) fn finish(self, finished: &Finished, args: &ReplayArgs) -> Result<Told, Complaint> {
        let path = path(&self.run);
        let kept = finished.answers.unwrap_or_default();
        let tally = Tally { seen: kept.kept, recorded: kept.kept, ..Tally::default() };
        let writer = self.writer.lock().ok().and_then(|mut writer| writer.take());
        if let Some(writer) = writer {
            let closed = writer.finish(&tally).and_then(|mut file| std::io::Write::flush(&mut file));
            closed.map_err(|error| Complaint::cannot_write(&path, &error))?;
        }
        let compared = compare(&Wanted {
            runs: std::slice::from_ref(&self.run),
            base: None,
            captures: &args.source.captures,
            tolerance: Tolerance::Presume,
        })?;
        Ok(Told { kept, compared })
    }
}

/// What a replay says of its answers.
pub(super) struct Told {
    kept: AnswersKept,
    compared: Compared,
}

impl Told {
    /// A line or two for people.
    pub(super) fn text(&self, run: &Path) -> String {
        let overall = self.compared.overall();
        let mut text = format!(
            "  {} of {} kept answers say what the recorded ones said ({:.2} %); `highwater diff {}` lists the others\n",
            overall.alike,
            overall.compared,
            100.0 * overall.alike as f64 / overall.compared.max(1) as f64,
            run.display(),
        );
        if self.kept.cut + self.kept.left_out > 0 {
            let _ = writeln!(
                text,
                "  {} answers kept, {} of them cut; {} more were chosen but left out",
                self.kept.kept, self.kept.cut, self.kept.left_out
            );
        }
        text
    }

    /// The share of a route's kept answers that say what the recorded ones said; `None` when none was kept.
    pub(super) fn alike_ratio(&self, route: &str) -> Option<f64> {
        let of = self.compared.routes.get(route).filter(|of| of.compared > 0)?;
        Some(of.alike as f64 / of.compared as f64)
    }

    pub(super) fn json(&self) -> Value {
        let overall = self.compared.overall();
        json!({
            "kept": self.kept.kept,
            "cut": self.kept.cut,
            "left_out": self.kept.left_out,
            "compared": overall.compared,
            "alike": overall.alike,
            "alike_ratio": overall.alike as f64 / overall.compared.max(1) as f64,
        })
    }
}
