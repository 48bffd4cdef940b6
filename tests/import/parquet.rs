//! The table of an export, as DuckDB and pandas read it, where they are.

use std::process::Command;

use super::{imported, text};
use crate::support::{run, stderr};

const LOG: &str = r#"192.0.2.7 - - [10/Oct/2000:13:55:36 -0700] "GET /product/1 HTTP/1.1" 200 2326
192.0.2.7 - - [10/Oct/2000:13:55:37 -0700] "POST /cart HTTP/1.0" 503 17
"#;

/// Prints two rows as both should see them.
const READ: [(&str, &str); 2] = [
    (
        "duckdb",
        "import sys, duckdb
rows = duckdb.sql(f\"select method, target, status, response_body_bytes, epoch_ns(arrived), secure \\
    from '{sys.argv[1]}' order by arrived\").fetchall()
for row in rows: print(*row)",
    ),
    (
        "pandas",
        "import sys, pandas
table = pandas.read_parquet(sys.argv[1]).sort_values('arrived')
for row in table.itertuples():
    print(row.method, row.target, int(row.status), int(row.response_body_bytes), row.arrived.value, row.secure)",
    ),
];

#[test]
fn duckdb_and_pandas_read_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("a.log"), LOG).unwrap();
    imported(&at("a.log"), &at("a.capture"), &[]);
    let output =
        run(&["export", text(&at("a.capture")), "--format", "parquet", "--out", text(&at("a.parquet"))]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for (library, script) in READ {
        let here = Command::new(&python).args(["-c", &format!("import {library}")]).output();
        if !here.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: there is no {library} to read Parquet with");
            continue;
        }
        let output = Command::new(&python).args(["-c", script, text(&at("a.parquet"))]).output().unwrap();
        let read = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            read.lines().collect::<Vec<_>>(),
            [
                "GET /product/1 200 2326 971211336000000000 False",
                "POST /cart 503 17 971211337000000000 False"
            ],
            "{library}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
