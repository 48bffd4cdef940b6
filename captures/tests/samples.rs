//! Every format version that was ever released still reads.

use std::fs::File;

use captures::{CaptureReader, Exchange, Masking, Run, SessionKey, header_value};

#[test]
fn the_capture_of_version_1_reads_as_it_was_recorded() {
    // 18 runs of curl: six of two GETs with a cookie and a token, six POSTs, six HEADs.
    let mut reader = CaptureReader::open(File::open("samples/v1/small.capture").unwrap()).unwrap();
    let exchanges: Vec<Exchange> = reader.by_ref().map(Result::unwrap).collect();
    assert!(reader.closed() && reader.damage().is_empty());
    assert!(matches!(reader.header().masking, Masking::Pseudonyms { .. }));
    assert_eq!(reader.header().listen, ["127.0.0.1:9602"]);
    assert_eq!(exchanges.len(), 24);
    let of_method =
        |method: &[u8]| exchanges.iter().filter(|exchange| exchange.request.method == method).count();
    assert_eq!((of_method(b"GET"), of_method(b"POST"), of_method(b"HEAD")), (12, 6, 6));
    let with_cookie: Vec<&Exchange> =
        exchanges.iter().filter(|exchange| exchange.session_key == SessionKey::Cookie).collect();
    assert_eq!(with_cookie.len(), 12);
    let cookie = header_value(&with_cookie[0].request.headers, "cookie").unwrap();
    assert!(
        cookie.starts_with(b"sid=") && cookie.len() == b"sid=abc123".len() && !cookie.ends_with(b"abc123")
    );
    assert_eq!(reader.tallies().last().unwrap().seen, 24);
}

#[test]
fn the_run_of_version_1_reads_as_it_was_measured() {
    let run = Run::read(File::open("samples/v1/small.run").unwrap()).unwrap();
    assert!(run.damage.is_empty());
    assert_eq!(run.header.stages.len(), 3);
    assert_eq!(run.header.routes.len(), 4);
    let overall = run.overall();
    assert_eq!((overall.total(), overall.answered(), overall.errors()), (2_361, 2_361, 0));
    assert_eq!(run.intervals.iter().map(|interval| interval.planned).sum::<u64>(), 2_361);
    assert_eq!(run.end.unwrap().invalid_reason, None);
}

#[test]
fn the_run_of_version_2_reads_with_what_was_observed_beside_it() {
    // 4 s against a server of files, watched by its process id: two of three routes are not there.
    let run = Run::read(File::open("samples/v2/small.run").unwrap()).unwrap();
    assert!(run.damage.is_empty());
    let overall = run.overall();
    assert_eq!((overall.total(), overall.answered(), overall.unexpected), (308, 308, 206));
    assert_eq!(overall.first_byte.len(), 308);
    let connects: u64 = run.intervals.iter().map(|interval| interval.connect.len()).sum();
    assert_eq!(connects, 308);
    let observed = run.intervals.iter().flat_map(|interval| &interval.observed);
    assert!(observed.filter(|one| one.name.ends_with("/memory_bytes") && one.value > 1e6).count() >= 3);
    assert!(
        run.intervals
            .iter()
            .any(|interval| interval.generator.is_some_and(|load| load.resident.as_u64() > 0))
    );
    assert!(run.samples.iter().all(|sample| sample.first_byte.is_some() && sample.received.as_u64() > 0));
}
