//! One line of a users file.
//!
//! ```text
//! account:hash:roles:id:permissions:state
//! ```
//!
//! | column | what it is |
//! |---|---|
//! | account | the name, exactly; no colon, no control character, not beginning with `#` |
//! | hash | PHC or bcrypt text |
//! | roles | separated by commas |
//! | id | `sub` of the account's tokens; empty: the account's name |
//! | permissions | separated by commas |
//! | state | empty, or `disabled` |
//!
//! What follows the hash may be left out, so that a line of `htpasswd` is one of these. In the
//! columns behind the hash `:` is written `%3A`, `,` within a word `%2C`, and `%` `%25`.

use percent_encoding::percent_decode_str;
use thiserror::Error;

use super::super::hash::{Hash, HashError};
use super::super::name::{NameError, check_account_name, check_subject, words};
use crate::secret::Secret;

/// Columns of a line.
const COLUMNS_MAX: usize = 6;

/// What the last column says of an account that may not log in.
const DISABLED: &str = "disabled";

/// What is wrong with a line. Never quotes it: a part of it is a hash.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// The account's name cannot be one.
    #[error("the account's name {0}")]
    Account(NameError),
    /// More columns than there are.
    #[error("more than {COLUMNS_MAX} columns")]
    Columns,
    /// The same account again.
    #[error("the same account as in line {0}")]
    Duplicate(usize),
    /// A `%` that stands for nothing.
    #[error("a `%` that is not followed by two hexadecimal digits; by itself it is written %25")]
    Escape,
    /// The hash cannot be used.
    #[error("the hash {0}")]
    Hash(HashError),
    /// The id cannot be one.
    #[error("the id {0}")]
    Id(NameError),
    /// No colon: a name without a hash.
    #[error("no hash")]
    NoHash,
    /// A permission cannot be one.
    #[error("the permissions: one {0}")]
    Permissions(NameError),
    /// A role cannot be one.
    #[error("the roles: one {0}")]
    Roles(NameError),
    /// Neither empty nor `disabled`.
    #[error("the last column is neither empty nor `disabled`")]
    State,
    /// Two accounts would have the same `sub`.
    #[error("the same id as the account in line {0} has")]
    Subject(usize),
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The hash of its password.
    pub hash: Hash,
    /// Its roles.
    pub roles: Vec<String>,
    /// The id, where it is not the name.
    pub id: Option<String>,
    /// Its permissions.
    pub permissions: Vec<String>,
    /// Whether it may not log in.
    pub disabled: bool,
}

/// All but the hash, of an account that is to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEntry {
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
    /// The id, where it is not the name.
    pub id: Option<String>,
    /// Its permissions.
    pub permissions: Vec<String>,
    /// Whether it may not log in.
    pub disabled: bool,
}

impl Entry {
    /// Reads a line without its line break.
    pub(super) fn parse(line: &str) -> Result<Self, LineError> {
        let mut columns = line.split(':');
        let name = columns.next().unwrap_or_default();
        check_account_name(name).map_err(LineError::Account)?;
        let hash = columns.next().ok_or(LineError::NoHash)?;
        let hash = hash.parse().map_err(LineError::Hash)?;
        let mut column = || columns.next().unwrap_or_default();
        let roles = list(column())?.map_err(LineError::Roles)?;
        let id = Some(decoded(column())?).filter(|id| !id.is_empty());
        id.as_deref().map_or(Ok(()), check_subject).map_err(LineError::Id)?;
        let permissions = list(column())?.map_err(LineError::Permissions)?;
        let disabled = match column() {
            "" => false,
            DISABLED => true,
            _ => return Err(LineError::State),
        };
        if columns.next().is_some() {
            return Err(LineError::Columns);
        }
        Ok(Self { name: name.to_owned(), hash, roles, id, permissions, disabled })
    }

    /// `sub` of its tokens.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.name)
    }
}

impl NewEntry {
    /// The line, without a line break. It is read back before it is written anywhere, so that what
    /// could not be read is not written.
    pub(super) fn line(&self, hash: &str) -> Result<Secret<String>, LineError> {
        let id = encoded(self.id.as_deref().unwrap_or_default());
        let state = if self.disabled { DISABLED } else { "" };
        let (roles, permissions) = (joined(&self.roles), joined(&self.permissions));
        let mut line = format!("{}:{hash}:{roles}:{id}:{permissions}:{state}", self.name);
        // Three columns always, so that a reader sees where roles go; the others when needed.
        while line.ends_with(':') && line.split(':').count() > 3 {
            line.pop();
        }
        let line = Secret::new(line);
        let read = Entry::parse(line.expose())?;
        let same = read.name == self.name && read.id == self.id && read.disabled == self.disabled;
        if same { Ok(line) } else { Err(LineError::Columns) }
    }
}

/// The line with another hash and everything else as it was.
pub(super) fn with_hash(line: &str, hash: &str) -> Secret<String> {
    let mut columns: Vec<&str> = line.split(':').collect();
    if let Some(column) = columns.get_mut(1) {
        *column = hash;
    }
    Secret::new(columns.join(":"))
}

/// The words of a column.
fn list(column: &str) -> Result<Result<Vec<String>, NameError>, LineError> {
    let decoded = column.split(',').map(decoded).collect::<Result<Vec<_>, _>>()?;
    Ok(words(decoded.iter().map(String::as_str)))
}

fn joined(words: &[String]) -> String {
    words.iter().map(|word| encoded(word)).collect::<Vec<_>>().join(",")
}

fn encoded(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A").replace(',', "%2C")
}

fn decoded(text: &str) -> Result<String, LineError> {
    let is_escape = |rest: &str| {
        let digits = rest.get(..2).unwrap_or_default();
        digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(LineError::Escape);
    }
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| LineError::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";

    fn parse(line: &str) -> Result<Entry, LineError> {
        Entry::parse(&line.replace('H', HASH))
    }

    #[test]
    fn columns_behind_the_hash_may_be_left_out() {
        for line in ["alice:H", "alice:H:", "alice:H:::", "alice:H::::"] {
            let entry = parse(line).unwrap();
            assert_eq!((entry.name.as_str(), entry.subject()), ("alice", "alice"), "{line}");
            assert!(entry.roles.is_empty() && entry.permissions.is_empty() && !entry.disabled);
        }
        let entry =
            parse("alice:H: admin, editor,,admin:42:orders%3Aread,a%2Cb%25:disabled").unwrap();
        assert_eq!(entry.roles, ["admin", "editor"]);
        assert_eq!(entry.subject(), "42");
        assert_eq!(entry.permissions, ["orders:read", "a,b%"]);
        assert!(entry.disabled);
    }

    #[test]
    fn hostile_lines() {
        let long = format!("{}:H", "x".repeat(257));
        for (line, refused) in [
            ("", LineError::Account(NameError::Empty)),
            ("alice", LineError::NoHash),
            (":H", LineError::Account(NameError::Empty)),
            (" alice:H", LineError::Account(NameError::Padded)),
            ("ali\tce:H", LineError::Account(NameError::Control)),
            ("ali\rce:H", LineError::Account(NameError::Control)),
            (&long, LineError::Account(NameError::Long)),
            ("alice:", LineError::Hash(HashError::Unknown)),
            ("alice: H", LineError::Hash(HashError::Unknown)),
            ("alice:*", LineError::Hash(HashError::Unknown)),
            ("alice:H::client%3Abilling", LineError::Id(NameError::Client)),
            ("alice:H::a%0Ab", LineError::Id(NameError::Control)),
            ("alice:H:a%00b", LineError::Roles(NameError::Control)),
            ("alice:H:::a%0Db", LineError::Permissions(NameError::Control)),
            ("alice:H:a%zz", LineError::Escape),
            ("alice:H:a%", LineError::Escape),
            ("alice:H:%ff", LineError::Escape),
            ("alice:H::::locked", LineError::State),
            ("alice:H::::Disabled", LineError::State),
            ("alice:H:::::", LineError::Columns),
            // `client:…` cannot be a name: the colon ends it.
            ("client:billing:H", LineError::Hash(HashError::Unknown)),
        ] {
            assert_eq!(parse(line), Err(refused), "{line:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let new = NewEntry {
            name: "alice".into(),
            roles: vec!["a:b".into(), "50%".into(), "x,y".into()],
            id: Some("urn:uuid:1".into()),
            permissions: vec!["orders:read".into()],
            disabled: true,
        };
        let read = Entry::parse(new.line(HASH).unwrap().expose()).unwrap();
        assert_eq!((read.roles, read.id), (new.roles, new.id));
        assert_eq!((read.permissions, read.disabled), (new.permissions, true));
        let plain = NewEntry { name: "bob".into(), ..NewEntry::default() };
        assert_eq!(plain.line(HASH).unwrap().expose(), &format!("bob:{HASH}:"));
        for name in ["a:b", "", "a\nb", "client:x"] {
            let hostile = NewEntry { name: name.into(), ..NewEntry::default() };
            assert!(hostile.line(HASH).is_err(), "{name:?}");
        }
    }

    #[test]
    fn another_hash_leaves_the_rest_alone() {
        let line = with_hash("alice:old:a,b::x%3Ay:disabled", "new");
        assert_eq!(line.expose(), "alice:new:a,b::x%3Ay:disabled");
        assert_eq!(with_hash("alice:old", "new").expose(), "alice:new");
    }

    proptest::proptest! {
        /// Whatever is typed: what is written is what is read, or it is not written.
        #[test]
        fn nothing_is_written_that_means_something_else(
            name in "\\PC{0,12}",
            roles in proptest::collection::vec(".{0,8}", 0..4),
            id in ".{0,8}",
        ) {
            let id = Some(id).filter(|id| !id.is_empty());
            let new = NewEntry { name, roles, id, ..NewEntry::default() };
            if let Ok(line) = new.line(HASH) {
                assert!(!line.expose().contains('\n'));
                let read = Entry::parse(line.expose()).unwrap();
                assert_eq!((&read.name, &read.id), (&new.name, &new.id));
                let wanted = words(new.roles.iter().map(String::as_str)).unwrap();
                assert_eq!(read.roles, wanted);
            }
        }

        /// A line may be anything.
        #[test]
        fn any_line_is_read_or_refused(line in "[a-z:$%,=#0-9 \\PC]{0,80}") {
            drop(Entry::parse(&line));
        }
    }
}
