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
