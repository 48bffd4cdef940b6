//! Writes the capture of an import.
//!
//! The first exchanges are held back for a while: the header, which comes before them, names the servers.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use captures::{CaptureHeader, CaptureWriter, DropReason, Exchange, Tally};

use crate::commands::files;
use crate::complain::{Complaint, Exit};

/// So many bytes of exchanges are held back at most.
const HELD_BACK: usize = 16 << 20;

/// The capture that is being written.
pub(super) struct Sink<'a> {
    path: &'a Path,
    waiting: Vec<Exchange>,
    held: usize,
    writer: Option<CaptureWriter<BufWriter<File>>>,
    pub(super) too_large: u64,
}

impl<'a> Sink<'a> {
    /// For the capture at `path`, which must not exist yet.
    pub(super) fn new(path: &'a Path) -> Result<Self, Complaint> {
        if path.exists() {
            let mend = "give another --out, or remove it first";
            return Err(Complaint::new(Exit::Usage, path.display(), "exists already", mend));
        }
        Ok(Self { path, waiting: Vec::new(), held: 0, writer: None, too_large: 0 })
    }

    /// The next exchange.
    pub(super) fn push(
        &mut self,
        exchange: Exchange,
        header: impl FnOnce() -> CaptureHeader,
    ) -> Result<(), Complaint> {
        if self.writer.is_some() {
            return self.write(&exchange);
        }
        self.held += size(&exchange);
        self.waiting.push(exchange);
        if self.held >= HELD_BACK { self.begin(&header()) } else { Ok(()) }
    }

    fn begin(&mut self, header: &CaptureHeader) -> Result<(), Complaint> {
        self.writer = Some(files::create_capture(self.path, header)?);
        for exchange in std::mem::take(&mut self.waiting) {
            self.write(&exchange)?;
        }
        Ok(())
    }

    fn write(&mut self, exchange: &Exchange) -> Result<(), Complaint> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match writer.push(exchange) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.too_large += 1;
                Ok(())
            }
            done => done.map_err(|error| Complaint::cannot_write(self.path, &error)),
        }
    }

    /// Closes the capture, with the accounts of everything that was to go into it.
    pub(super) fn finish(mut self, header: &CaptureHeader, mut tally: Tally) -> Result<Tally, Complaint> {
        if self.writer.is_none() {
            self.begin(header)?;
        }
        if self.too_large > 0 {
            tally.recorded -= self.too_large;
            tally.dropped = vec![(DropReason::TooLarge, self.too_large)];
        }
        if let Some(writer) = self.writer {
            writer
                .finish(&tally)
                .and_then(|mut sink| sink.flush())
                .map_err(|error| Complaint::cannot_write(self.path, &error))?;
        }
        Ok(tally)
    }
}

/// About how much memory an exchange takes.
pub(super) fn size(exchange: &Exchange) -> usize {
    let response = exchange.response.as_ref();
    let bodies =
        exchange.request.body.stored.len() + response.map_or(0, |response| response.body.stored.len());
    let headers = exchange.request.headers.len() + response.map_or(0, |response| response.headers.len());
    size_of::<Exchange>() + exchange.request.target.len() + bodies + headers * 100
}
