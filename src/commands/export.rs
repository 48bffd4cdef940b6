//! `highwater export`: captures leave for the tools that people have.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use captures::Exchange;
use captures::foreign::{Export, ExportFormat};
use recorder::Rule;

use crate::Globals;
use crate::commands::arrival::ByArrival;
use crate::commands::files;
use crate::complain::{Complaint, Exit, say};

/// Writes captures for other tools: HAR, GoReplay, JSON lines, CSV, Parquet, a k6 script, curl commands
///
/// Several captures are written as one, in the order of arrival. What the format cannot hold is counted, and
/// said at the end. Bodies leave as they are in the capture: masked, and cut where they were cut; HAR gets them
/// without their content coding.
///
/// Example: highwater export shop.capture --format har --out shop.har
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// Captures, or folders with files that end in .capture
    #[arg(value_name = "CAPTURE", required = true)]
    captures: Vec<PathBuf>,
    /// What to write
    ///
    /// `har` is HAR 1.2. `gor` is GoReplay's file. `jsonl` has an object a line, with headers and bodies; `csv` a
    /// row, without; `parquet` is the same table for DuckDB, pandas or Spark. `k6` is a script that plays each session as a virtual user, `curl` one that asks one request
    /// after the other; BASE_URL in their environment says where.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Format,
    /// The file to write; `-` is stdout
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only exchanges that fit RULE (one of them, if repeated), as `record --include` reads it
    #[arg(long = "where", value_name = "RULE", value_parser = Rule::parse)]
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Har,
    Gor,
    Jsonl,
    Csv,
    Parquet,
    K6,
    Curl,
}

/// Runs the command.
pub(crate) fn run(args: &ExportArgs, globals: &Globals) -> Result<(), Complaint> {
    let mut reader = files::open_captures(&args.captures)?;
    let failed = |error: io::Error| Complaint::cannot_write(&args.out, &error);
    let mut export = Export::begin(sink(&args.out)?, args.format.into(), reader.header()).map_err(failed)?;
    let mut order = ByArrival::default();
    let mut put = |mut exchange: Exchange| -> io::Result<()> {
        if args.format == Format::Har {
            recorder::take_coding_off(&mut exchange);
        }
        export.push(&exchange)
    };
    for exchange in reader.by_ref() {
        let exchange = exchange.map_err(|error| files::not_a_set(&error))?;
        if !args.rules.is_empty() && !args.rules.iter().any(|rule| rule.fits(&exchange)) {
            continue;
        }
        order.push(exchange);
        while let Some(exchange) = order.settled() {
            put(exchange).map_err(failed)?;
        }
    }
    while let Some(exchange) = order.next() {
        put(exchange).map_err(failed)?;
    }
    let (written, lost) = export.finish().map_err(failed)?;
    if !globals.quiet {
        say!("exported {written} exchanges to {}", args.out.display());
        let lost: Vec<String> =
            lost.iter().map(|(what, count)| format!("{} {count}", what.replace('_', " "))).collect();
        if !lost.is_empty() {
            say!("highwater: {}: the format has no place for: {}", args.out.display(), lost.join(", "));
        }
    }
    match reader.damage().first() {
        Some((path, damage)) => {
            let mend = "everything else was exported; `highwater inspect` says what is lost";
            Err(Complaint::new(Exit::Input, path.display(), damage, mend))
        }
        None => Ok(()),
    }
}

/// A new file for its owner alone, or stdout.
fn sink(path: &Path) -> Result<BufWriter<Box<dyn Write>>, Complaint> {
    let sink: Box<dyn Write> = if path == Path::new("-") {
        Box::new(io::stdout().lock())
    } else {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        Box::new(made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                let mend = "give another --out, or remove it first";
                Complaint::new(Exit::Usage, path.display(), "exists already", mend)
            }
            _ => Complaint::cannot_write(path, &error),
        })?)
    };
    Ok(BufWriter::with_capacity(256 << 10, sink))
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Har => Self::Har,
            Format::Gor => Self::Gor,
            Format::Jsonl => Self::Jsonl,
            Format::Csv => Self::Csv,
            Format::Parquet => Self::Parquet,
            Format::K6 => Self::K6,
            Format::Curl => Self::Curl,
        }
    }
}
