//! The text that a configuration was read from, and how a place in it is shown.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::interpolate::Interpolated;

/// Keys whose value is never shown, even where it should not have been written. Those of variables
/// are among them, because a secret written in place of its variable's name is a likely mistake.
const SECRET_WORDS: [&str; 11] = [
    "secret",
    "secret_env",
    "password",
    "password_env",
    "passphrase",
    "private_key",
    "client_secret",
    "client_secret_env",
    "sentinel_password",
    "sentinel_password_env",
    "token_secret",
];

/// A configuration's name, text and directory, and what was put into it from elsewhere.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    dir: PathBuf,
    text: String,
    /// `--set` and environment overrides. Their text lies behind the file's in the numbering of
    /// places, so that one kind of place serves both.
    overrides: Vec<Override>,
    interpolated: Vec<Interpolated>,
}

/// One override.
#[derive(Clone, Debug)]
struct Override {
    /// Where its text lies.
    span: Range<usize>,
    /// What to call it: `--set limits.body_bytes`.
    label: String,
}

impl Source {
    /// A text called `name` whose relative paths start at `dir`.
    pub fn new(name: impl Into<String>, dir: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            dir: dir.into(),
            text: text.into(),
            overrides: Vec::new(),
            interpolated: Vec::new(),
        }
    }

    /// The name shown in messages: the path as the operator gave it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that relative paths start at.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file's text, as read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A path of the configuration: as it is when absolute, else below the file's directory.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.dir.join(path)
    }

    /// The values that were interpolated, in the order of the file.
    #[must_use]
    pub fn interpolated(&self) -> &[Interpolated] {
        &self.interpolated
    }

    /// Takes note of the interpolated values.
    pub(super) fn set_interpolated(&mut self, interpolated: Vec<Interpolated>) {
        self.interpolated = interpolated;
    }

    /// Reserves places for the text of an override; returns where they begin.
    pub(super) fn add_override(&mut self, label: String, length: usize) -> usize {
        let end = self.overrides.last().map_or(self.text.len(), |last| last.span.end);
        // One apart, so that no place belongs to two texts.
        let start = end.saturating_add(1);
        self.overrides.push(Override { span: start..start.saturating_add(length), label });
        start
    }

    /// Where `span` is, for the beginning of a message: `postern.toml:7:3` or `--set log.level`.
    pub fn place(&self, span: Option<&Range<usize>>) -> String {
        let Some(span) = span else { return self.name.clone() };
        if let Some(set) = self.override_at(span.start) {
            return set.label.clone();
        }
        let (line, column) = self.line_and_column(span.start);
        format!("{}:{line}:{column}", self.name)
    }

    /// The line of `span` with a caret line below it, as far as it may be shown.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Option<(String, String)> {
        if self.override_at(span.start).is_some() {
            return None;
        }
        let start = self.floor(span.start);
        let line_start = self.text.get(..start)?.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(line_start..)?;
        let line = rest.split('\n').next()?.trim_end_matches('\r');
        let before = self.text.get(line_start..start)?.chars().count();
        let on_line = self.floor(span.end.min(line_start + line.len())).max(start);
        let width = self.text.get(start..on_line)?.chars().count().max(1);
        Some((displayable(line), format!("{}{}", " ".repeat(before), "^".repeat(width))))
    }

    fn override_at(&self, place: usize) -> Option<&Override> {
        self.overrides.iter().find(|set| (set.span.start..=set.span.end).contains(&place))
    }

    /// Line and column (in characters) of a byte, both from 1.
    fn line_and_column(&self, place: usize) -> (usize, usize) {
        let before = self.text.get(..self.floor(place)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// The nearest character border at or below `place`.
    fn floor(&self, place: usize) -> usize {
        let mut place = place.min(self.text.len());
        while !self.text.is_char_boundary(place) {
            place -= 1;
        }
        place
    }
}

/// A source line as it may be printed: no control character reaches a terminal, the value of a key
/// that should hold a secret and a URL's password are left out (invariant 7).
fn displayable(line: &str) -> String {
    let shown: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    without_url_password(&without_secret(&shown))
}

/// Cuts the line behind the `=` of a key named like a secret.
fn without_secret(line: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    for (equals, _) in line.match_indices('=') {
        let (before, _) = line.split_at(equals);
        let key = before.trim_end().trim_end_matches(['"', '\'']);
        let word = key.rsplit(|c| !is_word(c)).next().unwrap_or_default();
        if SECRET_WORDS.contains(&word) {
            return format!("{before}= …");
        }
    }
    line.to_owned()
}

/// The text without what stands between `://` and `@`.
pub(super) fn without_url_password(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(['"', '\'', ' ', ',']).unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        match url.rsplit_once('@') {
            Some((_, host)) => {
                shown.push_str("…@");
                shown.push_str(host);
            }
            None => shown.push_str(url),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}
