//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `${file:PATH}` in string values.
//!
//! Done on the parsed tree, so that no value can break out of its string and every error keeps its
//! line. What was put in is remembered, so that it is left out wherever the configuration is shown.

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};
use crate::secret::Secret;

/// The largest file that `${file:}` reads.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Pieces at least this long are left out of every message; shorter ones only where they stand,
/// because they are words that messages need.
const CONCEALED_EVERYWHERE_BYTES_MIN: usize = 8;

/// What stands for a value that was not read.
const UNREAD: &str = "unread";

/// A value that came, in part or whole, from outside the file.
#[derive(Clone, Debug)]
pub struct Interpolated {
    /// Its key: `upstreams.orders.servers[0]`.
    pub key: String,
    /// Where it stands.
    pub span: Range<usize>,
    /// Whether the value is what it should be.
    pub(super) state: State,
    /// The value, and each piece that was put into it; longest first.
    concealed: Vec<Secret<String>>,
}

/// What became of an interpolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// A problem was reported; the value means nothing.
    Failed,
    /// All is in place.
    Filled,
    /// A file was not read, because nothing outside the configuration is.
    Unread,
}

impl Interpolated {
    /// Replaces the value in a message about the place `span`.
    pub(super) fn conceal(&self, message: &mut String, span: Option<&Range<usize>>) {
        let here = span.is_some_and(|span| overlap(span, &self.span));
        for piece in self.concealed.iter().map(Secret::expose) {
            if !here && piece.len() < CONCEALED_EVERYWHERE_BYTES_MIN {
                continue;
            }
            let escaped: String = piece.escape_debug().collect();
            for form in [piece, &escaped] {
                if !form.is_empty() && message.contains(form.as_str()) {
                    *message = message.replace(form.as_str(), "[interpolated]");
                }
            }
        }
    }
}

/// Whether two places have a byte in common.
pub(super) fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

/// What an interpolation may look at.
pub(super) struct Outside<'a> {
    /// The environment.
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Where relative paths start.
    pub(super) dir: &'a Path,
    /// Whether `${file:}` is read.
    pub(super) read_files: bool,
}

/// Fills in every string of the tree.
pub(super) fn interpolate(
    root: &mut DeTable<'_>,
    outside: &Outside<'_>,
    problems: &mut Problems,
) -> Vec<Interpolated> {
    let mut walk = Walk { outside, problems, found: Vec::new() };
    walk.table(root, "");
    walk.found
}

struct Walk<'a> {
    outside: &'a Outside<'a>,
    problems: &'a mut Problems,
    found: Vec<Interpolated>,
}

impl Walk<'_> {
    /// The parser bounds the depth of the tree, and so of this recursion.
    fn table(&mut self, table: &mut DeTable<'_>, above: &str) {
        for (key, value) in table.iter_mut() {
            let dot = if above.is_empty() { "" } else { "." };
            self.value(value, &format!("{above}{dot}{}", key.get_ref()));
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, key: &str) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Array(array) => {
                for (index, element) in array.iter_mut().enumerate() {
                    self.value(element, &format!("{key}[{index}]"));
                }
            }
            DeValue::String(text) if text.contains("${") => {
                let filled = self.fill(text, key, span);
                *text = filled.into();
            }
            DeValue::Table(table) => self.table(table, key),
            DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Float(_)
            | DeValue::Integer(_)
            | DeValue::String(_) => {}
        }
    }

    fn fill(&mut self, text: &str, key: &str, span: Range<usize>) -> String {
        let mut value = String::with_capacity(text.len());
        let mut concealed = Vec::new();
        let mut state = None;
        for piece in pieces(text) {
            let filled = match piece {
                Piece::Literal(literal) => {
                    value.push_str(literal);
                    continue;
                }
                Piece::Reference(reference) => self.look_up(reference),
                Piece::Unfinished => Err(Problem::new("`${` without its `}`")
                    .help("write `$${` for a dollar sign and a brace")),
            };
            let now = match filled {
                Ok(Some(filled)) => {
                    value.push_str(&filled);
                    concealed.push(Secret::new(filled));
                    State::Filled
                }
                Ok(None) => {
                    value.push_str(UNREAD);
                    State::Unread
                }
                Err(problem) => {
                    self.problems.push(Problem { span: Some(span.clone()), ..problem });
                    State::Failed
                }
            };
            state = Some(match state {
                Some(State::Failed) => State::Failed,
                Some(State::Unread) if now == State::Filled => State::Unread,
                _ => now,
            });
        }
        if let Some(state) = state {
            concealed.push(Secret::new(value.clone()));
            concealed.sort_by_key(|piece| std::cmp::Reverse(piece.expose().len()));
            self.found.push(Interpolated { key: key.to_owned(), span, state, concealed });
        }
        value
    }

    /// The value of what stands between `${` and `}`; `None` for a file that may not be read.
    fn look_up(&self, reference: &str) -> Result<Option<String>, Problem> {
        if let Some(path) = reference.strip_prefix("file:") {
            return if self.outside.read_files {
                read(&self.outside.dir.join(path), path).map(Some)
            } else {
                Ok(None)
            };
        }
        let (name, otherwise) = match reference.split_once(':') {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (reference, None),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(legal)
        {
            return Err(Problem::new(format!("`${{{reference}}}` is not understood")).help(
                "write ${VAR}, ${VAR:-default}, ${VAR:?message} or ${file:PATH}; `$${` stands for \
                 a dollar sign and a brace",
            ));
        }
        // As in a shell, `:-` and `:?` take an empty variable for an unset one.
        let set = (self.outside.environment)(name);
        let filled = set.clone().filter(|value| !value.is_empty());
        match otherwise {
            None => set.map(Some).ok_or_else(|| {
                Problem::new(format!("the environment variable {name} is not set"))
                    .help(format!("set it, or write ${{{name}:-default}}"))
            }),
            Some(rule) => match (rule.strip_prefix('-'), rule.strip_prefix('?')) {
                (Some(default), _) => Ok(Some(filled.unwrap_or_else(|| default.to_owned()))),
                (None, Some("")) => filled.map(Some).ok_or_else(|| {
                    Problem::new(format!("the environment variable {name} is not set"))
                }),
                (None, Some(message)) => filled
                    .map(Some)
                    .ok_or_else(|| Problem::new(format!("{name} is not set: {message}"))),
                (None, None) => Err(Problem::new(format!("`${{{reference}}}` is not understood"))
                    .help(format!("write ${{{name}:-default}} or ${{{name}:?message}}"))),
            },
        }
    }
}

/// A part of a string value.
enum Piece<'a> {
    /// Text as it stands.
    Literal(&'a str),
    /// What stands between `${` and `}`.
    Reference(&'a str),
    /// A `${` that is never closed.
    Unfinished,
}

/// The parts of a string value, in order.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        // `$${` is `${` as text: the first dollar sign goes, the rest stays.
        if let Some(before) = before.strip_suffix('$') {
            pieces.push(Piece::Literal(before));
            pieces.push(Piece::Literal("${"));
            rest = after;
            continue;
        }
        pieces.push(Piece::Literal(before));
        let Some((reference, tail)) = after.split_once('}') else {
            pieces.push(Piece::Unfinished);
            return pieces;
        };
        pieces.push(Piece::Reference(reference));
        rest = tail;
    }
    pieces.push(Piece::Literal(rest));
    pieces
}

/// A file's text without one final line break.
fn read(path: &Path, written: &str) -> Result<String, Problem> {
    let wrong = |why: &str| Problem::new(format!("the file {written:?} {why}"));
    let cannot = |error: std::io::Error| wrong(&format!("cannot be read: {}", error.kind()));
    let file = File::open(path).map_err(cannot)?;
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err(wrong("is not a file"));
    }
    let mut text = String::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(|_| wrong("cannot be read as UTF-8 text"))?;
    if u64::try_from(text.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
        return Err(wrong("is larger than 64 KiB"));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
