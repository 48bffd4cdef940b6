//! Flags of what is done to secrets.

mod explain;
mod file;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use recorder::{MaskPolicy, MaskRules};

use crate::complain::{Complaint, Exit, reason};

/// A key is no novel.
const LONGEST_KEY: u64 = 4_096;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Secrets")]
pub(in crate::commands) struct MaskArgs {
    /// What is done to secrets: `default`, `none`, or a file (TOML) that adds to the defaults [default: default]
    ///
    /// By default these become pseudonyms (same secret, same pseudonym): the values of headers named like
    /// credentials, all cookies, parameters and fields named like passwords and tokens (in queries, addresses,
    /// forms, multipart, JSON, XML, HTML, columns of CSV with a head, and any text of `name=value`), also those
    /// that a name beside them calls so ({"name":"password","value":"…"}), card numbers, JSON web tokens, private
    /// keys and what follows `Bearer`. Bodies coded with gzip, deflate, br or zstd are decoded for it, and coded
    /// again when something was masked; gzip is known without being declared. A body that cannot be looked into (another coding, damage, more than
    /// 100 times its size or 4MiB, UTF-7, UTF-32, EBCDIC) is not stored, but for length and digest. Not known:
    /// secrets without a name or a shape (words in paths and sentences), what only a blank parts from its name
    /// (`password S`, `-u name:S`), a value before its name in XML, or a list or an object before its name in
    /// JSON, CSV without a head, fields of protobuf and gRPC, base64 within text, archives.
    ///
    /// A file has the tables [headers], [cookies], [query] and [fields], each with the lists `add` and `keep` (a
    /// `*` at either end of a name stands for anything; fields may be paths, e.g. "$.user.pin",
    /// "items[*].code"), and [text] with `cards` and `tokens`, true or false. `none` stores secrets.
    #[arg(long, value_name = "default|none|FILE")]
    mask: Option<String>,
    /// One more header whose value is a secret, a `*` at an end standing for anything; may be repeated
    #[arg(long, value_name = "NAME")]
    mask_header: Vec<String>,
    /// A file with the key of the pseudonyms, to link captures [default: a random key for each recording]
    ///
    /// 64 hexadecimal digits, or at least 16 bytes of anything else; nobody but its owner and group may read
    /// it, and nobody but its owner write. Whoever has the key can test guesses against the captures.
    #[arg(long, value_name = "FILE")]
    mask_key: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Secrets")]
pub(super) struct ExplainArgs {
    /// Show what would be masked in a sample, or in a FILE with a raw HTTP/1 request or response, and stop
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    explain_policy: Option<String>,
    /// With --explain-policy: one JSON object on stdout
    #[arg(long, requires = "explain_policy")]
    json: bool,
}

impl MaskArgs {
    pub(in crate::commands) fn resolve(&self) -> Result<MaskPolicy, Complaint> {
        let mut rules = match self.mask.as_deref().unwrap_or("default") {
            "none" => return self.nothing(),
            "default" => MaskRules::usual(),
            path => file::rules(Path::new(path))?,
        };
        rules.headers.extend(self.mask_header.iter().map(|name| name.trim().to_ascii_lowercase()));
        match &self.mask_key {
            None => MaskPolicy::with_random_key(rules)
                .map_err(|error| Complaint::new(Exit::Fault, "--mask", &error, error.mend())),
            Some(path) => MaskPolicy::with_key(&key(path)?, rules).ok_or_else(|| {
                let mend = "give 64 hexadecimal digits, or at least 16 bytes of anything else";
                Complaint::new(Exit::Usage, place(path), "the key is too short", mend)
            }),
        }
    }

    /// Whether anything was said of secrets.
    pub(in crate::commands) fn is_typed(&self) -> bool {
        self.mask.is_some() || !self.mask_header.is_empty() || self.mask_key.is_some()
    }

    fn nothing(&self) -> Result<MaskPolicy, Complaint> {
        let contradicts = if self.mask_key.is_some() { "--mask-key" } else { "--mask-header" };
        if self.mask_key.is_some() || !self.mask_header.is_empty() {
            let mend = "leave one of the two out";
            return Err(Complaint::new(Exit::Usage, contradicts, "contradicts --mask none", mend));
        }
        Ok(MaskPolicy::None)
    }
}

impl ExplainArgs {
    /// Explains the policy when that was asked for, and says whether it was.
    pub(super) fn explain(&self, mask: &MaskArgs) -> Result<bool, Complaint> {
        let Some(sample) = &self.explain_policy else { return Ok(false) };
        let sample = (!sample.is_empty()).then_some(Path::new(sample));
        explain::explain(mask.resolve()?, sample, self.json)?;
        Ok(true)
    }
}

/// The key in a file that is nobody else's.
fn key(path: &Path) -> Result<Vec<u8>, Complaint> {
    let refuse = |what: &str, mend: &str| Complaint::new(Exit::Usage, place(path), what, mend);
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            refuse("does not exist", "make one, e.g. (umask 077; openssl rand -hex 32 > FILE)")
        }
        _ => refuse(&format!("cannot be opened: {}", reason(&error)), "check the path and its permissions"),
    })?;
    let unreadable = |error: std::io::Error| refuse(&reason(&error), "give a file that can be read");
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o004 != 0 {
        return Err(refuse("may be read by everybody", "chmod 600 it"));
    }
    if mode & 0o022 != 0 {
        return Err(refuse("may be written by others", "chmod 600 it"));
    }
    let mut key = Vec::new();
    file.take(LONGEST_KEY).read_to_end(&mut key).map_err(unreadable)?;
    Ok(key)
}

fn place(path: &Path) -> String {
    format!("--mask-key {}", path.display())
}
