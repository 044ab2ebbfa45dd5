//! Values set from outside the file: `--set KEY=VALUE` and the environment.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::source::Source;
use super::tree::Node;

/// The variables that override the file, each with its key (the contract names these and no
/// others; `POSTERN_CONFIG` names the file itself).
const VARIABLES: [(&str, &str); 3] = [
    ("POSTERN_ADMIN", "admin.listen"),
    ("POSTERN_LOG", "log.level"),
    ("POSTERN_WORKERS", "listen.workers"),
];

/// One value to set.
pub(super) struct Assignment {
    label: String,
    /// `key = value` in TOML, behind as many blanks as the place where its numbering begins.
    text: String,
    /// The value, when it is text as it stands and `text` holds another in its place.
    plain: Option<String>,
    /// How many steps the key has.
    depth: usize,
}

impl Assignment {
    /// All that apply, in the order of rising precedence: environment, then `--set`.
    pub(super) fn all(
        sets: &[String],
        environment: &dyn Fn(&str) -> Option<String>,
        source: &mut Source,
    ) -> (Vec<Self>, Vec<Problem>) {
        let mut assignments = Vec::new();
        let mut problems = Vec::new();
        for (variable, key) in VARIABLES {
            let value = environment(variable).filter(|value| !value.is_empty());
            let assignment = value.and_then(|value| Self::text(key, value, variable, source));
            assignments.extend(assignment);
        }
        for set in sets {
            match Self::parse(set, source) {
                Ok(assignment) => assignments.push(assignment),
                Err(problem) => problems.push(problem),
            }
        }
        (assignments, problems)
    }

    /// Reads what follows `--set`. The value is TOML where it is that, else text:
    /// `log.level=debug`, `limits.header_count=50`, `upstreams.a.servers=["http://[::1]:3000"]`.
    fn parse(set: &str, source: &mut Source) -> Result<Self, Problem> {
        let Some((key, value)) = set.split_once('=') else {
            return Err(Problem::new("`--set` takes KEY=VALUE, and there is no `=`"));
        };
        let key = key.trim();
        let label = format!("--set {key}");
        let wrong = || Problem::new(format!("{label}: not a key such as `limits.body_bytes`"));
        let depth = depth(key).ok_or_else(wrong)?;
        let written = format!("{key} = {}", value.trim());
        if DeTable::parse(&written).is_ok_and(|table| table.get_ref().len() == 1) {
            return Ok(Self::new(label, &written, None, depth, source));
        }
        Self::text(key, value.to_owned(), &label, source).ok_or_else(wrong)
    }

    /// A value that is text whatever it looks like.
    fn text(key: &str, value: String, label: &str, source: &mut Source) -> Option<Self> {
        let depth = depth(key)?;
        Some(Self::new(label.to_owned(), &format!("{key} = 0"), Some(value), depth, source))
    }

    fn new(
        label: String,
        written: &str,
        plain: Option<String>,
        depth: usize,
        source: &mut Source,
    ) -> Self {
        let offset = source.add_override(label.clone(), written.len());
        let text = format!("{}{written}", " ".repeat(offset));
        Self { label, text, plain, depth }
    }

    /// Puts the value into the tree.
    pub(super) fn apply<'i>(&'i self, root: &mut DeTable<'i>) -> Result<(), Problem> {
        let nowhere =
            || Problem::new(format!("{}: there is no such place in the configuration", self.label));
        let table = DeTable::parse(&self.text).map_err(|_| nowhere())?.into_inner();
        let (mut keys, mut value) = (Vec::new(), None);
        let mut level = Some(table);
        while let Some((key, inner)) = level.and_then(|table| table.into_iter().next()) {
            keys.push(key);
            if keys.len() == self.depth {
                value = Some(inner);
                break;
            }
            level = match inner.into_inner() {
                DeValue::Table(table) => Some(table),
                _ => None,
            };
        }
        let mut value = value.ok_or_else(nowhere)?;
        if let Some(plain) = &self.plain {
            *value.get_mut() = DeValue::String(Cow::Borrowed(plain));
        }
        if insert(root, &keys, value) { Ok(()) } else { Err(nowhere()) }
    }
}

/// How many steps a dotted key has; `None` when it is no key.
fn depth(key: &str) -> Option<usize> {
    let text = format!("{key} = 0");
    let table = DeTable::parse(&text).ok()?.into_inner();
    let mut depth = 0;
    let mut level = Some(&table);
    while let Some(table) = level {
        let (_, value) = table.iter().next().filter(|_| table.len() == 1)?;
        depth += 1;
        level = value.get_ref().as_table();
    }
    Some(depth)
}

/// Sets the value at the end of the keys, making tables on the way; a number steps into a list.
fn insert<'i>(table: &mut DeTable<'i>, keys: &[Spanned<Cow<'i, str>>], value: Node<'i>) -> bool {
    let Some((key, rest)) = keys.split_first() else { return false };
    if rest.is_empty() {
        // Removed first: the old key would keep its old place.
        table.remove(key.get_ref().as_ref());
        table.insert(key.clone(), value);
        return true;
    }
    let new = || Spanned::new(key.span(), DeValue::Table(DeTable::new()));
    let inner = table.entry(key.clone()).or_insert_with(new);
    insert_into(inner, rest, value)
}

fn insert_into<'i>(node: &mut Node<'i>, keys: &[Spanned<Cow<'i, str>>], value: Node<'i>) -> bool {
    match node.get_mut() {
        DeValue::Array(array) => {
            let Some((key, rest)) = keys.split_first() else { return false };
            let index = key.get_ref().parse::<usize>().ok();
            let Some(element) = index.and_then(|index| array.get_mut(index)) else { return false };
            if rest.is_empty() {
                *element = value;
                return true;
            }
            insert_into(element, rest, value)
        }
        DeValue::Table(table) => insert(table, keys, value),
        DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Float(_)
        | DeValue::Integer(_)
        | DeValue::String(_) => false,
    }
}
