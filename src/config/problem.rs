//! What is wrong with a configuration, collected from every layer and printed together.

use std::fmt::Write as _;
use std::ops::Range;

use super::source::{Source, without_url_password};

/// Problems printed at most; the rest is counted.
const PRINTED_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, in bytes of the source; `None` for the configuration as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong, in one line, without a secret.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Problem {
    /// A problem of the configuration as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        Self { span: None, message: message.into(), help: None }
    }

    /// A problem at a place; the empty place `0..0` of a default counts as none.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        let span = (span.end > 0).then_some(span);
        Self { span, message: message.into(), help: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The collector that every layer pushes into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Nothing wrong so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a problem, once.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Adds those of another layer.
    pub fn extend(&mut self, others: Self) {
        for problem in others.0 {
            self.push(problem);
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How much is wrong.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The problems in the order of their places; those without a place first.
    #[must_use]
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|problem| problem.span.as_ref().map(|span| (span.start, span.end)));
        sorted
    }

    /// All of them as text: place and message, the line with a caret, the help.
    #[must_use]
    pub fn render(&self, source: &Source) -> String {
        let mut text = String::new();
        let sorted = self.sorted();
        for problem in sorted.iter().take(PRINTED_MAX) {
            render(&mut text, problem, source);
        }
        if let Some(more @ 1..) = sorted.len().checked_sub(PRINTED_MAX) {
            let _ = writeln!(text, "{}: and {more} more", source.name());
        }
        text
    }

    /// Changes or drops every problem.
    pub(super) fn filter_map(&mut self, change: impl FnMut(Problem) -> Option<Problem>) {
        for problem in std::mem::take(&mut self.0).into_iter().filter_map(change) {
            self.push(problem);
        }
    }
}

fn render(text: &mut String, problem: &Problem, source: &Source) {
    let span = problem.span.as_ref();
    let message = concealed(&problem.message, span, source);
    let _ = writeln!(text, "{}: {message}", source.place(span));
    if let Some((line, caret)) = span.and_then(|span| source.excerpt(span)) {
        let _ = writeln!(text, "  | {line}\n  | {caret}");
    }
    if let Some(help) = &problem.help {
        let _ = writeln!(text, "  help: {}", concealed(help, span, source));
    }
}

/// The text without control characters, interpolated values and passwords in URLs (invariant 7).
fn concealed(text: &str, span: Option<&Range<usize>>, source: &Source) -> String {
    let mut text = without_url_password(text);
    for value in source.interpolated() {
        value.conceal(&mut text, span);
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
