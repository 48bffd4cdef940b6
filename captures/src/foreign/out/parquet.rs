//! The table of [`super::table`] as Apache Parquet, which DuckDB, pandas and Spark read column by column.
//!
//! Rows are gathered into groups, so that memory is bounded; a group leaves as soon as it is full: per column one
//! page of plain values, compressed by zstd. Everything that the format could do beyond that (dictionaries, indexes,
//! statistics) is absent. A library would bring a minute of compiling for these two hundred lines.
//!
//! Source: the Apache Parquet format, `parquet.thrift`, and Thrift's compact protocol.

mod thrift;

use std::io::{self, Write};

use self::thrift::Struct;
use super::{Context, lossy};
use crate::exchange::{Exchange, header_value};
use crate::route::route_of;

const MAGIC: &[u8] = b"PAR1";
/// A group has so many rows at most, and so many bytes of text.
const ROWS: usize = 100_000;
const TEXT: usize = 16 << 20;
/// Numbers of `parquet.thrift`.
const PLAIN: i32 = 0;
const RUN_LENGTHS: i32 = 3;
const OPTIONAL: i32 = 1;
const ZSTD: i32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// Nanoseconds since 1970-01-01 UTC.
    Moment,
    Whole,
    Small,
    Number,
    Truth,
}

const COLUMNS: [(&str, Kind); 16] = [
    ("arrived", Kind::Moment),
    ("method", Kind::Text),
    ("host", Kind::Text),
    ("target", Kind::Text),
    ("route", Kind::Text),
    ("version", Kind::Text),
    ("status", Kind::Small),
    ("request_body_bytes", Kind::Whole),
    ("response_body_bytes", Kind::Whole),
    ("first_byte_ms", Kind::Number),
    ("duration_ms", Kind::Number),
    ("connection", Kind::Whole),
    ("session", Kind::Whole),
    ("server", Kind::Text),
    ("secure", Kind::Truth),
    ("ending", Kind::Text),
];

/// A file that is being written.
#[derive(Default)]
pub(super) struct Parquet {
    columns: [Column; COLUMNS.len()],
    rows: usize,
    text: usize,
    /// The bytes of the file so far.
    place: usize,
    all_rows: usize,
    groups: Vec<Vec<u8>>,
}

/// The values of one column in one group.
#[derive(Default)]
struct Column {
    values: Vec<u8>,
    /// Of a column of truths: how many there are, eight a byte.
    truths: usize,
    /// Which rows have a value, as lengths of runs.
    runs: Vec<(bool, usize)>,
}

enum Cell {
    Text(String),
    Whole(i64),
    Small(i32),
    Number(f64),
    Truth(bool),
    Nothing,
}

impl Parquet {
    pub(super) fn begin(sink: &mut impl Write) -> io::Result<Self> {
        sink.write_all(MAGIC)?;
        Ok(Self { place: MAGIC.len(), ..Self::default() })
    }

    pub(super) fn push(
        &mut self,
        sink: &mut impl Write,
        context: &Context,
        exchange: &Exchange,
    ) -> io::Result<bool> {
        for (column, cell) in self.columns.iter_mut().zip(row(context, exchange)) {
            self.text += if let Cell::Text(text) = &cell { text.len() } else { 0 };
            column.push(cell);
        }
        self.rows += 1;
        if self.rows >= ROWS || self.text >= TEXT {
            self.end_group(sink)?;
        }
        Ok(true)
    }

    /// Writes the rows that are here, a page a column.
    fn end_group(&mut self, sink: &mut impl Write) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let (mut chunks, mut size) = (Vec::new(), 0);
        for ((name, kind), column) in COLUMNS.iter().zip(&mut self.columns) {
            let page = std::mem::take(column).page();
            let packed = zstd::bulk::compress(&page, 3)?;
            let about = Struct::default()
                .number(1, length(rows)?)
                .number(2, PLAIN)
                .number(3, RUN_LENGTHS)
                .number(4, RUN_LENGTHS)
                .done();
            let head = Struct::default()
                .number(1, 0)
                .number(2, length(page.len())?)
                .number(3, length(packed.len())?)
                .inner(5, &about)
                .done();
            let (whole, written) = (head.len() + page.len(), head.len() + packed.len());
            let column = Struct::default()
                .number(1, physical(*kind))
                .numbers(2, &[PLAIN, RUN_LENGTHS])
                .texts(3, &[name])
                .number(4, ZSTD)
                .long(5, rows)
                .long(6, whole)
                .long(7, written)
                .long(9, self.place);
            chunks.push(Struct::default().long(2, self.place).inner(3, &column.done()).done());
            sink.write_all(&head)?;
            sink.write_all(&packed)?;
            self.place += written;
            size += whole;
        }
        self.groups.push(Struct::default().structs(1, &chunks).long(2, size).long(3, rows).done());
        self.all_rows += rows;
        self.text = 0;
        Ok(())
    }

    pub(super) fn end(mut self, sink: &mut impl Write) -> io::Result<()> {
        if self.rows > 0 {
            self.end_group(sink)?;
        }
        let count = i32::try_from(COLUMNS.len()).unwrap_or(i32::MAX);
        let root = Struct::default().text(4, "exchanges").number(5, count).done();
        let schema: Vec<Vec<u8>> =
            std::iter::once(root).chain(COLUMNS.iter().map(|(name, kind)| element(name, *kind))).collect();
        let footer = Struct::default()
            .number(1, 1)
            .structs(2, &schema)
            .long(3, self.all_rows)
            .structs(4, &self.groups)
            .text(6, concat!("highwater ", env!("CARGO_PKG_VERSION")))
            .done();
        sink.write_all(&footer)?;
        sink.write_all(&length(footer.len())?.to_le_bytes())?;
        sink.write_all(MAGIC)
    }
}

impl Column {
    fn push(&mut self, cell: Cell) {
        let is_there = !matches!(cell, Cell::Nothing);
        match self.runs.last_mut() {
            Some((same, count)) if *same == is_there => *count += 1,
            _ => self.runs.push((is_there, 1)),
        }
        match cell {
            Cell::Text(text) => {
                self.values.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                self.values.extend(text.as_bytes());
            }
            Cell::Whole(value) => self.values.extend(value.to_le_bytes()),
            Cell::Small(value) => self.values.extend(value.to_le_bytes()),
            Cell::Number(value) => self.values.extend(value.to_le_bytes()),
            Cell::Truth(value) => {
                if self.truths.is_multiple_of(8) {
                    self.values.push(0);
                }
                if let Some(last) = self.values.last_mut() {
                    *last |= u8::from(value) << (self.truths % 8);
                }
                self.truths += 1;
            }
            Cell::Nothing => {}
        }
    }

    /// Which rows have values, behind the length of that, then the values.
    fn page(self) -> Vec<u8> {
        let mut runs = Vec::new();
        for (is_there, count) in self.runs {
            thrift::varint(&mut runs, (count as u64) << 1);
            runs.push(u8::from(is_there));
        }
        let mut page = u32::try_from(runs.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        page.extend(runs);
        page.extend(self.values);
        page
    }
}

fn length(of: usize) -> io::Result<i32> {
    i32::try_from(of).map_err(io::Error::other)
}

const fn physical(kind: Kind) -> i32 {
    match kind {
        Kind::Truth => 0,
        Kind::Small => 1,
        Kind::Moment | Kind::Whole => 2,
        Kind::Number => 5,
        Kind::Text => 6,
    }
}

/// A column in the schema.
fn element(name: &str, kind: Kind) -> Vec<u8> {
    let element = Struct::default().number(1, physical(kind)).number(3, OPTIONAL).text(4, name);
    let nothing = Struct::default().done();
    match kind {
        Kind::Text => element.number(6, 0).inner(10, &Struct::default().inner(1, &nothing).done()),
        Kind::Moment => {
            let unit = Struct::default().inner(3, &nothing).done();
            let moment = Struct::default().truth(1, true).inner(2, &unit).done();
            element.inner(10, &Struct::default().inner(8, &moment).done())
        }
        Kind::Whole | Kind::Small | Kind::Number | Kind::Truth => element,
    }
    .done()
}

/// The cells of an exchange, in the order of the columns.
fn row(context: &Context, exchange: &Exchange) -> [Cell; COLUMNS.len()] {
    let (request, answer) = (&exchange.request, exchange.response.as_ref());
    let server = exchange.passage.server.and_then(|at| context.servers.get(usize::try_from(at).ok()?));
    let millis = |length: std::time::Duration| Cell::Number(length.as_secs_f64() * 1_000.0);
    let whole = |value: u64| Cell::Whole(i64::try_from(value).unwrap_or(i64::MAX));
    let arrived = context.nanos(exchange.arrived);
    [
        i64::try_from(arrived).map_or(Cell::Nothing, Cell::Whole),
        Cell::Text(lossy(&request.method)),
        header_value(&request.headers, "host").map_or(Cell::Nothing, |host| Cell::Text(lossy(host))),
        Cell::Text(lossy(&request.target)),
        Cell::Text(route_of(&request.method, &request.target)),
        Cell::Text(request.version.as_str().to_owned()),
        answer.map_or(Cell::Nothing, |answer| Cell::Small(i32::from(answer.status))),
        whole(request.body.length),
        answer.map_or(Cell::Nothing, |answer| whole(answer.body.length)),
        exchange.response_began.map_or(Cell::Nothing, |began| millis(began.since(exchange.arrived))),
        millis(exchange.ended.since(exchange.arrived)),
        whole(exchange.connection.0),
        whole(exchange.session.0),
        server.map_or(Cell::Nothing, |server| Cell::Text(server.clone())),
        Cell::Truth(exchange.passage.secure),
        Cell::Text(exchange.ending.as_str().to_owned()),
    ]
}
