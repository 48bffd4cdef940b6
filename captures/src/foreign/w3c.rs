//! The extended log format of the W3C, as CloudFront and IIS write it: a `#Fields:` line names the columns.

use std::time::Duration;

use super::log::{Said, address, coarse, status};
use super::moment;
use super::raw;
use crate::exchange::Header;

/// The columns of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields(Vec<String>);

impl Fields {
    /// The columns, when `line` names them.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let names = std::str::from_utf8(line.strip_prefix(b"#Fields:")?).ok()?;
        let names: Vec<String> = names.split_ascii_whitespace().map(str::to_ascii_lowercase).collect();
        (!names.is_empty()).then_some(Self(names))
    }

    /// What a line says.
    pub(super) fn said(&self, line: &[u8]) -> Option<Said> {
        let has_tabs = line.contains(&b'\t');
        let values: Vec<&[u8]> = line.split(|&byte| byte == if has_tabs { b'\t' } else { b' ' }).collect();
        if values.len() < self.0.len() {
            return None;
        }
        let (mut date, mut time) = (None, None);
        let mut said = Said::default();
        // CloudFront tells seconds, IIS milliseconds.
        let is_iis = self.0.iter().any(|name| name == "s-ip");
        for (name, &value) in self.0.iter().zip(&values) {
            if value == b"-" {
                continue;
            }
            let text = std::str::from_utf8(value).unwrap_or_default();
            match name.as_str() {
                "date" => date = Some(value),
                "time" => time = Some(value),
                "cs-method" => said.method = Some(value.to_vec()),
                "cs-uri-stem" | "cs-uri" => said.target = Some(value.to_vec()),
                "cs-uri-query" => said.query = Some(value.to_vec()),
                "sc-status" => said.status = text.parse().ok().and_then(status),
                "sc-bytes" => said.sent = text.parse().ok(),
                "cs-bytes" => said.received = text.parse().ok(),
                "c-ip" => said.client = address(value),
                "x-host-header" | "cs-host" => said.host = Some(value.to_vec()),
                "cs(host)" => {
                    said.host.get_or_insert_with(|| value.to_vec());
                }
                "cs-protocol" => said.is_secure = value == b"https",
                "cs-protocol-version" | "cs-version" => said.version = raw::version(value),
                "time-taken" => {
                    let unit = if is_iis { 1e-3 } else { 1.0 };
                    let length = text.parse::<f64>().ok().filter(|length| (0.0..1e9).contains(length));
                    said.duration = length.and_then(|length| Duration::try_from_secs_f64(length * unit).ok());
                }
                _ => {
                    if let Some(header) = name.strip_prefix("cs(").and_then(|name| name.strip_suffix(')')) {
                        let value = if is_iis { text.replace('+', " ").into_bytes() } else { decoded(value) };
                        said.headers.push(Header { name: header.as_bytes().to_vec(), value });
                    }
                }
            }
        }
        let stamp = [date?, b" ", time?].concat();
        said.at = moment::iso(&stamp).map(|moment| if moment.is_coarse { coarse(moment.at) } else { moment });
        Some(said)
    }
}

/// CloudFront writes blanks and the like with percent signs.
fn decoded(value: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(0), digit(1))
        {
            plain.push(u8::try_from(high << 4 | low).unwrap_or(b'?'));
            rest = &after[2..];
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}
