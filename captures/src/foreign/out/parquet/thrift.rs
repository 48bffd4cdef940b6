//! Writes structs in Thrift's compact protocol, as far as Parquet's descriptions need it.

const INTEGER: u8 = 5;
const LONG: u8 = 6;
const TEXT: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// A struct whose fields are written in the order of their numbers.
#[derive(Default)]
pub(super) struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

impl Struct {
    /// The bytes of the struct.
    pub(super) fn done(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }

    pub(super) fn number(mut self, field: u8, value: i32) -> Self {
        self.field(field, INTEGER);
        varint(&mut self.bytes, zigzag(i64::from(value)));
        self
    }

    pub(super) fn long(mut self, field: u8, value: usize) -> Self {
        self.field(field, LONG);
        varint(&mut self.bytes, zigzag(i64::try_from(value).unwrap_or(i64::MAX)));
        self
    }

    pub(super) fn truth(mut self, field: u8, value: bool) -> Self {
        // The value is the type.
        self.field(field, if value { 1 } else { 2 });
        self
    }

    pub(super) fn text(mut self, field: u8, text: &str) -> Self {
        self.field(field, TEXT);
        string(&mut self.bytes, text);
        self
    }

    pub(super) fn inner(mut self, field: u8, inner: &[u8]) -> Self {
        self.field(field, STRUCT);
        self.bytes.extend_from_slice(inner);
        self
    }

    pub(super) fn numbers(mut self, field: u8, values: &[i32]) -> Self {
        self.list(field, INTEGER, values.len());
        values.iter().for_each(|&value| varint(&mut self.bytes, zigzag(i64::from(value))));
        self
    }

    pub(super) fn texts(mut self, field: u8, texts: &[&str]) -> Self {
        self.list(field, TEXT, texts.len());
        texts.iter().for_each(|text| string(&mut self.bytes, text));
        self
    }

    pub(super) fn structs(mut self, field: u8, structs: &[Vec<u8>]) -> Self {
        self.list(field, STRUCT, structs.len());
        structs.iter().for_each(|inner| self.bytes.extend_from_slice(inner));
        self
    }

    /// Every field says how far its number is from the one before, which here is less than 16.
    fn field(&mut self, number: u8, kind: u8) {
        self.bytes.push((number - self.last) << 4 | kind);
        self.last = number;
    }

    fn list(&mut self, field: u8, kind: u8, count: usize) {
        self.field(field, LIST);
        match u8::try_from(count) {
            Ok(count @ 0..15) => self.bytes.push(count << 4 | kind),
            _ => {
                self.bytes.push(0xF0 | kind);
                varint(&mut self.bytes, count as u64);
            }
        }
    }
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7F) as u8);
}

fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    varint(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}
