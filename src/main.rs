//! The command line of Highwater: parse, run one command, print one line, exit.

mod admin;
mod allocator;
mod clock;
mod commands;
mod complain;
mod config_file;
mod demo;
mod journal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use commands::{
    capacity, compare, correlate, cut, diff, export, forecast, import, inspect, model, record, replay,
    report, sniff,
};
use complain::Complaint;
use journal::LogFormat;

/// Record the tide, replay the flood, find the high-water mark.
///
/// Records real traffic, replays it at N times its rate against staging, fits a capacity curve, and says
/// with what load the service still meets its objectives and when growth exhausts it.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, max_term_width = 110)]
struct CommandLine {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command understands.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Globals {
    /// Say more on stderr
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Say nothing on stderr but complaints
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// The seed of every chance: the same inputs and seed give the same result
    #[arg(long, global = true, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// How a command that runs for long says what happens: for people, or one JSON object a line
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
    /// Take flags from a TOML file; flags that are typed win over it
    ///
    /// The keys are the long names of flags, in a table named like the command: `[record]`, then
    /// `listen = "127.0.0.1:8080"`. A switch is `true` or `false`, a flag that may be repeated takes a list.
    /// Flags that every command understands may stand above the first table. Unknown keys are refused.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Record(Box<record::RecordArgs>),
    Sniff(Box<sniff::SniffArgs>),
    Import(Box<import::ImportArgs>),
    Inspect(inspect::InspectArgs),
    Correlate(correlate::CorrelateArgs),
    Cut(Box<cut::CutArgs>),
    Export(Box<export::ExportArgs>),
    Replay(Box<replay::ReplayArgs>),
    Capacity(Box<capacity::CapacityArgs>),
    Compare(compare::CompareArgs),
    Diff(diff::DiffArgs),
    Model(Box<model::ModelArgs>),
    Forecast(Box<forecast::ForecastArgs>),
    Report(report::ReportArgs),
    Demo(commands::demo::DemoArgs),
}

fn main() -> ExitCode {
    let arguments =
        match config_file::arguments(import::told_apart(std::env::args_os()), CommandLine::command()) {
            Ok(arguments) => arguments,
            Err(complaint) => return end(Err(complaint)),
        };
    let CommandLine { globals, command } = match CommandLine::try_parse_from(&arguments.all) {
        Ok(typed) => typed,
        Err(error) if error.use_stderr() => {
            return end(Err(Complaint::of_flags(&error, &arguments.place_of(&error))));
        }
        // Help and version: clap prints them well.
        Err(error) => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
    };
    if !matches!(command, Command::Record(_) | Command::Sniff(_) | Command::Replay(_) | Command::Capacity(_))
    {
        replayer::use_huge_pages(true);
    }
    if matches!(command, Command::Replay(_) | Command::Capacity(_)) {
        allocator::spare();
    }
    journal::begin(&globals);
    let done = match &command {
        Command::Record(args) => record::run(args, &globals),
        Command::Sniff(args) => sniff::run(args, &globals),
        Command::Import(args) => import::run(args, &globals),
        Command::Cut(args) => cut::run(args, &globals),
        Command::Export(args) => export::run(args, &globals),
        Command::Inspect(args) => inspect::run(args, &globals),
        Command::Correlate(args) => correlate::run(args, &globals),
        Command::Replay(args) => replay::run(args, &globals),
        Command::Capacity(args) => capacity::run(args, &globals),
        Command::Compare(args) => compare::run(args, &globals),
        Command::Diff(args) => diff::run(args, &globals),
        Command::Model(args) => model::run(args, &globals),
        Command::Forecast(args) => forecast::run(args, &globals),
        Command::Report(args) => report::run(args, &globals),
        Command::Demo(args) => commands::demo::run(args, &globals),
    };
    end(done)
}

/// One line for a complaint, and the exit code.
fn end(done: Result<(), Complaint>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            journal::complain(&complaint);
            ExitCode::from(complaint.exit as u8)
        }
    }
}
