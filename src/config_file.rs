//! Turns a configuration file into flags, so that whatever can be typed can stand in a file.
//!
//! The keys are the long names of the flags, in a table named like the command. The file's flags are added to
//! those that were typed before anything is parsed: there is one set of names, defaults and checks. What was
//! typed wins, also over a flag of the file that contradicts it. The whole file is checked, the tables of
//! other commands too: a misspelt key is refused, never ignored.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::complain::{Complaint, Exit};

/// How alike an unknown key and a known one must be to be taken for a slip, from 0 to 1.
const ALIKE: f64 = 0.7;

/// What was typed and what a file adds to it.
#[derive(Debug)]
pub(crate) struct Arguments {
    /// The arguments to parse, the program's name first.
    pub(crate) all: Vec<OsString>,
    /// The flags that stand in the file, and where.
    from_file: Vec<(String, String)>,
}

impl Arguments {
    /// Where the flag stands that `error` is about.
    pub(crate) fn place_of(&self, error: &clap::Error) -> String {
        let flag = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(flag)) => flag.as_str(),
            Some(ContextValue::Strings(flags)) => flags.first().map_or("", String::as_str),
            _ => "",
        };
        let flag = flag.split([' ', '=']).next().unwrap_or_default();
        let placed = self.from_file.iter().find(|(known, _)| known == flag);
        placed.map_or_else(|| "command line".to_owned(), |(_, place)| place.clone())
    }
}

/// What was `typed`, and what the file that `--config` names adds to it.
pub(crate) fn arguments(typed: Vec<OsString>, mut command: Command) -> Result<Arguments, Complaint> {
    command.build();
    // Incomplete as it is: what is missing may stand in the file.
    let lenient = command.clone().ignore_errors(true).try_get_matches_from(&typed);
    let named =
        lenient.ok().and_then(|matches| Some((matches.get_one::<PathBuf>("config")?.clone(), matches)));
    let Some((path, matches)) = named else {
        return Ok(Arguments { all: typed, from_file: Vec::new() });
    };
    let text = std::fs::read_to_string(&path).map_err(|error| Complaint::cannot_open(&path, &error))?;
    let file = ConfigFile { path: &path, text: &text };
    let flags = file.flags(&command, &matches)?;

    let mut all = typed;
    let end = all.iter().position(|argument| argument == "--").unwrap_or(all.len());
    let words = flags.iter().flat_map(|flag| flag.words.iter().map(OsString::from));
    all.splice(end..end, words.collect::<Vec<_>>());
    Ok(Arguments { all, from_file: flags.into_iter().map(|flag| (flag.name, flag.place)).collect() })
}

/// A flag in a file.
struct Flag {
    /// With its dashes.
    name: String,
    place: String,
    /// As it would be typed.
    words: Vec<String>,
}

struct ConfigFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl ConfigFile<'_> {
    /// The flags for the command that was typed, without those that were typed, too.
    fn flags(&self, command: &Command, typed: &ArgMatches) -> Result<Vec<Flag>, Complaint> {
        let root = DeTable::parse(self.text).map_err(|error| {
            let place = self.place(error.span().unwrap_or_default());
            Complaint::new(Exit::Usage, place, error.message(), "mend the TOML, see https://toml.io")
        })?;
        let (chosen, typed) = typed.subcommand().unwrap_or(("", typed));
        let mut flags = Vec::new();
        for (key, value) in root.get_ref() {
            let name: &str = key.get_ref();
            match (command.find_subcommand(name), value.get_ref()) {
                (Some(sub), DeValue::Table(table)) => {
                    for (key, value) in table {
                        let read = self.flag(sub, key, value, typed)?;
                        flags.extend(read.filter(|_| name == chosen).map(|flag| (true, flag)));
                    }
                }
                (Some(_), value) => {
                    let what = format!("`{name}` is a table, not {}", kind(value));
                    return Err(self.refuse(key.span(), what, &format!("write [{name}] above its flags")));
                }
                (None, _) => flags.extend(self.flag(command, key, value, typed)?.map(|flag| (false, flag))),
            }
        }
        // What stands in the command's table is nearer than what stands above all tables.
        let near: Vec<String> =
            flags.iter().filter(|(near, _)| *near).map(|(_, flag)| flag.name.clone()).collect();
        flags.retain(|(is_near, flag)| *is_near || !near.contains(&flag.name));
        Ok(flags.into_iter().map(|(_, flag)| flag).collect())
    }

    /// The flag that `key` means to `command`; none when what was typed overrules it, or when it is off.
    fn flag(
        &self,
        command: &Command,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        typed: &ArgMatches,
    ) -> Result<Option<Flag>, Complaint> {
        let name: &str = key.get_ref();
        let Some(arg) = settable(command).find(|arg| arg.get_long() == Some(name)) else {
            return Err(self.unknown(command, key));
        };
        let flag = format!("--{name}");
        let words = self.words(&flag, arg, value)?;
        let place = self.place(key.span());
        let overruled = is_typed(typed, arg) || contradicts_typed(command, arg, typed);
        Ok((!overruled && !words.is_empty()).then_some(Flag { name: flag, place, words }))
    }

    /// `flag` with its value or values, as they would be typed.
    fn words(&self, flag: &str, arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Complaint> {
        let refuse = |found: &Spanned<DeValue<'_>>, wanted: &str| {
            let what = format!("`{}` is {}, not {wanted}", &flag[2..], kind(found.get_ref()));
            self.refuse(found.span(), what, "--help says what the flag takes")
        };
        let word = |value: &Spanned<DeValue<'_>>, wanted: &str| match value.get_ref() {
            DeValue::String(text) => Ok(format!("{flag}={text}")),
            DeValue::Integer(number) if number.radix() == 10 => Ok(format!("{flag}={}", number.as_str())),
            DeValue::Float(number) => Ok(format!("{flag}={}", number.as_str())),
            _ => Err(refuse(value, wanted)),
        };
        let values = arg.get_num_args().unwrap_or_default();
        let is_list = matches!(arg.get_action(), ArgAction::Append) || values.max_values() > 1;
        match value.get_ref() {
            DeValue::Boolean(on) if values.min_values() == 0 => {
                Ok(if *on { vec![flag.to_owned()] } else { Vec::new() })
            }
            _ if !values.takes_values() => Err(refuse(value, "true or false")),
            DeValue::Array(values) if is_list => {
                values.iter().map(|value| word(value, "a text or a number")).collect()
            }
            _ if is_list => Ok(vec![word(value, "a text, a number or a list of them")?]),
            _ => Ok(vec![word(value, "a text or a number")?]),
        }
    }

    fn unknown(&self, command: &Command, key: &Spanned<std::borrow::Cow<'_, str>>) -> Complaint {
        let name: &str = key.get_ref();
        let is_root = command.get_subcommands().next().is_some();
        let tables = command.get_subcommands().map(Command::get_name).filter(|name| *name != "help");
        let known = settable(command).filter_map(Arg::get_long).chain(tables);
        let alike = known
            .map(|known| (strsim::jaro_winkler(known, &name.replace('_', "-")), known))
            .filter(|(alike, _)| *alike >= ALIKE)
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let owner = if is_root { "highwater".to_owned() } else { format!("`{}`", command.get_name()) };
        let mend = match alike {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None if is_root => {
                "the flags of a command stand in a table named like it, e.g. [record]".to_owned()
            }
            None => format!("highwater {} --help lists what there is", command.get_name()),
        };
        self.refuse(key.span(), format!("`{name}` is no flag of {owner}"), &mend)
    }

    fn refuse(&self, at: Range<usize>, what: String, mend: &str) -> Complaint {
        Complaint::new(Exit::Usage, self.place(at), what, mend)
    }

    /// `FILE:LINE`.
    fn place(&self, at: Range<usize>) -> String {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        format!("{}:{}", self.path.display(), 1 + before.iter().filter(|&&byte| byte == b'\n').count())
    }
}

/// The flags that a file may set.
fn settable(command: &Command) -> impl Iterator<Item = &Arg> {
    let decides = |arg: &&Arg| !matches!(arg.get_long(), None | Some("help" | "version" | "config"));
    command.get_arguments().filter(decides)
}

fn is_typed(typed: &ArgMatches, arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    let known = typed.try_contains_id(id).is_ok();
    known && typed.value_source(id) == Some(ValueSource::CommandLine)
}

fn contradicts_typed(command: &Command, arg: &Arg, typed: &ArgMatches) -> bool {
    command.get_arguments().filter(|other| is_typed(typed, other)).any(|other| {
        command.get_arg_conflicts_with(arg).contains(&other)
            || command.get_arg_conflicts_with(other).contains(&arg)
    })
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
