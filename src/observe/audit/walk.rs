//! Walking along a chain, line by line: every line must follow from the one before.

use serde::Deserialize;

use super::chain::{Key, Mac, parts};

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its code does not follow from the line and the one before.
    #[error("its code is wrong: this line or the one before is not as it was written")]
    Code,
    /// It is another gateway's.
    #[error("it is a line of another gateway ({0})")]
    Gateway(String),
    /// Its number is not the next one.
    #[error("number {found} where {expected} should be: lines are missing, or not in their order")]
    Number {
        /// The next one.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// It has not the form of a line of this log.
    #[error("it is no line of an audit log")]
    NotALine,
    /// A file's first line is not one that opens a file.
    #[error("a file begins with another line than one that opens it: its beginning is missing")]
    NotOpened,
    /// A file does not say that it follows the one before.
    #[error("this file does not follow the one before")]
    Previous,
    /// It was written with a key that is not at hand.
    #[error("it was written with another key ({0})")]
    UnknownKey(String),
    /// The last line has no end.
    #[error(
        "the last line is cut short: a gateway that was killed leaves this, and its next start \
         puts it right"
    )]
    Unfinished,
}

/// What is read of a line besides its code.
#[derive(Deserialize)]
struct Parsed {
    seq: u64,
    gateway: String,
    event: String,
    previous: Option<String>,
    key: Option<String>,
}

/// The place that was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Whose chain it is.
    pub gateway: String,
    /// The last line's number.
    pub seq: u64,
    /// The last line's code.
    pub mac: Mac,
}

/// A walk along one chain.
pub struct Walk<'k> {
    keys: &'k [Key],
    key: Option<&'k Key>,
    reached: Option<Reached>,
}

impl<'k> Walk<'k> {
    /// From the first line of some file, with the keys that may have been used.
    #[must_use]
    pub const fn new(keys: &'k [Key]) -> Self {
        Self { keys, key: None, reached: None }
    }

    /// From behind a line that is known, within a file that was written with this key.
    #[must_use]
    pub const fn behind(keys: &'k [Key], key: &'k Key, reached: Reached) -> Self {
        Self { keys, key: Some(key), reached: Some(reached) }
    }

    /// The last line that was good.
    #[must_use]
    pub const fn reached(&self) -> Option<&Reached> {
        self.reached.as_ref()
    }

    /// The first line of a file.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn open(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (body, code) = parts(line).ok_or(Fault::NotALine)?;
        let parsed = parse(body)?;
        if parsed.event != "open" {
            return Err(Fault::NotOpened);
        }
        let previous = parsed.previous.as_deref().and_then(Mac::parse).ok_or(Fault::NotALine)?;
        if let Some(reached) = &self.reached {
            check_place(reached, &parsed)?;
            if previous != reached.mac {
                return Err(Fault::Previous);
            }
        }
        let id = parsed.key.unwrap_or_default();
        let key = self.keys.iter().find(|key| key.id() == id).ok_or(Fault::UnknownKey(id))?;
        if key.code(&previous, body) != code {
            return Err(Fault::Code);
        }
        self.key = Some(key);
        self.reached = Some(Reached { gateway: parsed.gateway, seq: parsed.seq, mac: code });
        Ok(())
    }

    /// The next line of the same file.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn next(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (Some(key), Some(reached)) = (self.key, &mut self.reached) else {
            return Err(Fault::NotOpened);
        };
        let (body, code) = parts(line).ok_or(Fault::NotALine)?;
        let parsed = parse(body)?;
        check_place(reached, &parsed)?;
        if key.code(&reached.mac, body) != code {
            return Err(Fault::Code);
        }
        (reached.seq, reached.mac) = (parsed.seq, code);
        Ok(())
    }
}

fn parse(body: &[u8]) -> Result<Parsed, Fault> {
    let json = [body, b"}"].concat();
    serde_json::from_slice(&json).map_err(|_| Fault::NotALine)
}

fn check_place(reached: &Reached, parsed: &Parsed) -> Result<(), Fault> {
    if parsed.gateway != reached.gateway {
        return Err(Fault::Gateway(parsed.gateway.clone()));
    }
    let expected = reached.seq.saturating_add(1);
    if parsed.seq == expected { Ok(()) } else { Err(Fault::Number { expected, found: parsed.seq }) }
}
