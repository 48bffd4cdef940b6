//! `highwater demo`: the whole story on loopback, with a built-in shop.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::complain::{Complaint, Exit, reason};
use crate::demo::{shop, story};

/// Shows the whole story on loopback with a built-in shop, in about 90 seconds.
///
/// Records visitors of a built-in shop, replays them at rising multiples against a second one, fits the
/// capacity curve, writes the report, and then checks its own prediction by replaying just below and just
/// above it. Ends with a forecast on a synthetic history.
///
/// Example: highwater demo --out demo-report
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The folder to write; an earlier demo's is overwritten, any other must be empty
    #[arg(long, default_value = "demo-report", value_name = "DIR")]
    out: PathBuf,
    /// Print what was found as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// Serve the built-in shop at this address and do nothing else
    #[arg(long, hide = true, value_name = "ADDR", conflicts_with_all = ["out", "json"])]
    serve_shop: Option<SocketAddr>,
    /// Close the shop when standard input ends
    #[arg(long, hide = true, requires = "serve_shop")]
    with_parent: bool,
}

/// Runs the command.
pub(crate) fn run(args: &DemoArgs, globals: &crate::Globals) -> Result<(), Complaint> {
    if let Some(address) = args.serve_shop {
        return shop::serve(address, globals.seed, args.with_parent).map_err(|error| {
            let mend = "give an address of this machine whose port is free";
            Complaint::new(Exit::Fault, format!("--serve-shop {address}"), reason(&error), mend)
        });
    }
    let telling = story::Telling {
        out: &args.out,
        seed: globals.seed,
        aloud: !globals.quiet,
        verbose: globals.verbose,
    };
    let found = story::tell(&telling)?;
    if args.json {
        writeln!(io::stdout(), "{found}").map_err(|error| {
            Complaint::new(Exit::Fault, "stdout", reason(&error), "give it somewhere to go")
        })?;
    }
    Ok(())
}
