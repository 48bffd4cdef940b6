//! The replayer beside other load generators: `make bench-replayer`.
//!
//! Six questions: what does a request cost, in CPU of the whole process, beside those generators that are
//! installed (wrk, h2load, ab, and hey, oha and k6 by HEY, OHA and K6 in the environment); how true are the
//! moments at which requests arrive, at a server that stamps them (`--realtime`: on a machine that is shared); how true what it reports of servers whose
//! response times are known; how much memory do open connections take, 50 000 of them too, and does it grow with the
//! number of requests (ten million with `--long`); what does it cost to put the values of answers into requests.
//! `--only large` (`--gigabytes 10 --body 8000`) asks a seventh: how much memory a capture of 10 GB takes.
//!
//! The machine is shared and noisy: sides take turns, round by round, and medians of the rounds' ratios count.

#![expect(clippy::print_stderr, reason = "says what it skips and what it measured")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by panicking")]
#![expect(clippy::print_stdout, reason = "its output is its result")]

#[path = "../../tests/support.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod support;

#[path = "../../tests/support/proc.rs"]
#[expect(dead_code, reason = "shared with the tests, which use all of it")]
mod proc;

mod fidelity;
mod large;
mod memory;
mod patch;
mod sides;
mod sink;
mod truth;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == sink::SERVE) {
        return sink::serve_apart();
    }
    let after = |flag: &str| args.iter().position(|arg| arg == flag).map(|at| args[at + 1].clone());
    let rounds: usize = after("--rounds").map_or(5, |text| text.parse().unwrap());
    let only = after("--only");
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("cost") {
        sides::compare(rounds);
    }
    if wanted("patch") {
        patch::compare(rounds);
    }
    if wanted("fidelity") {
        fidelity::measure(args.iter().any(|arg| arg == "--realtime"));
    }
    if wanted("truth") {
        truth::measure();
    }
    if wanted("memory") {
        memory::measure(args.iter().any(|arg| arg == "--long"));
    }
    // Minutes and gigabytes of reading: only when asked for.
    if only.as_deref() == Some("large") {
        let number = |flag: &str, usual| after(flag).map_or(usual, |text| text.parse().unwrap());
        large::measure(number("--gigabytes", 10) as u64, number("--body", 8_000));
    }
}

/// The middle of some values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
