//! The parsed file as a tree: finding a node by its place, cutting one out.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A value with its place.
pub(super) type Node<'i> = Spanned<DeValue<'i>>;

/// One step on the way to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Into an array.
    Index(usize),
    /// Into a table.
    Key(String),
}

/// The way to a node.
pub(super) type Path = Vec<Step>;

/// The way in the form `issuers[].keys[]` or `upstreams.*`, in which rules about tables are
/// written: without numbers, and without the names that operators choose.
pub(super) fn pattern(path: &[Step]) -> String {
    let mut pattern = String::new();
    for (depth, step) in path.iter().enumerate() {
        match step {
            Step::Index(_) => pattern.push_str("[]"),
            Step::Key(_) if pattern == "upstreams" => pattern.push_str(".*"),
            Step::Key(key) => {
                pattern.push_str(if depth == 0 { "" } else { "." });
                pattern.push_str(key);
            }
        }
    }
    pattern
}

/// Shows every value with the way to it, the outer before the inner; what stands within a value is
/// shown when `visit` says so.
pub(super) fn each<'i>(root: &DeTable<'i>, visit: &mut dyn FnMut(&Path, &Node<'i>) -> bool) {
    each_in_table(root, &mut Path::new(), visit);
}

fn each_in_table<'i>(
    table: &DeTable<'i>,
    path: &mut Path,
    visit: &mut dyn FnMut(&Path, &Node<'i>) -> bool,
) {
    for (key, value) in table {
        path.push(Step::Key(key.get_ref().to_string()));
        each_in_value(value, path, visit);
        path.pop();
    }
}

fn each_in_value<'i>(
    value: &Node<'i>,
    path: &mut Path,
    visit: &mut dyn FnMut(&Path, &Node<'i>) -> bool,
) {
    if !visit(path, value) {
        return;
    }
    for (index, element) in
        value.get_ref().as_array().into_iter().flat_map(|a| a.iter()).enumerate()
    {
        path.push(Step::Index(index));
        each_in_value(element, path, visit);
        path.pop();
    }
    if let Some(table) = value.get_ref().as_table() {
        each_in_table(table, path, visit);
    }
}

/// The way to the key at this place, ending with the key.
pub(super) fn find_key(root: &DeTable<'_>, span: &Range<usize>) -> Option<Path> {
    let mut path = Path::new();
    let is_here = |key: &Range<usize>, _: &Range<usize>| key == span;
    find_in_table(root, &is_here, &mut path).then_some(path)
}

/// The way to the innermost value at this place.
pub(super) fn find_value(root: &DeTable<'_>, span: &Range<usize>) -> Option<Path> {
    let mut path = Path::new();
    let is_here = |_: &Range<usize>, value: &Range<usize>| value == span;
    find_in_table(root, &is_here, &mut path).then_some(path)
}

/// Decides on the place of a key and the place of a value.
type IsHere<'a> = dyn Fn(&Range<usize>, &Range<usize>) -> bool + 'a;

/// The parser bounds the depth of the tree, and so of this recursion.
fn find_in_table(table: &DeTable<'_>, is_here: &IsHere<'_>, path: &mut Path) -> bool {
    for (key, value) in table {
        path.push(Step::Key(key.get_ref().to_string()));
        if find_in_value(value, is_here, path) || is_here(&key.span(), &value.span()) {
            return true;
        }
        path.pop();
    }
    false
}

fn find_in_value(value: &Node<'_>, is_here: &IsHere<'_>, path: &mut Path) -> bool {
    match value.get_ref() {
        DeValue::Array(array) => {
            for (index, element) in array.iter().enumerate() {
                path.push(Step::Index(index));
                let no_key = usize::MAX..usize::MAX;
                if find_in_value(element, is_here, path) || is_here(&no_key, &element.span()) {
                    return true;
                }
                path.pop();
            }
            false
        }
        DeValue::Table(table) => find_in_table(table, is_here, path),
        DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Float(_)
        | DeValue::Integer(_)
        | DeValue::String(_) => false,
    }
}

/// The value at the end of the way.
pub(super) fn value_at<'a, 'i>(root: &'a DeTable<'i>, path: &[Step]) -> Option<&'a Node<'i>> {
    let (first, rest) = path.split_first()?;
    let Step::Key(key) = first else { return None };
    rest.iter().try_fold(root.get(key.as_str())?, |node, step| match step {
        Step::Index(index) => node.get_ref().get(*index),
        Step::Key(key) => node.get_ref().get(key.as_str()),
    })
}

/// Puts a text in the place of the value of a key; its place in the file stays.
pub(super) fn replace(root: &mut DeTable<'_>, path: &[Step], text: &'static str) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    let (Some((Step::Key(first), between)), Step::Key(key)) = (above.split_first(), last) else {
        return false;
    };
    let mut node = root.get_mut(first.as_str());
    for step in between {
        node = child(node, step);
    }
    match node.map(Spanned::get_mut) {
        Some(DeValue::Table(table)) => table.get_mut(key.as_str()).is_some_and(|value| {
            *value.get_mut() = DeValue::String(text.into());
            true
        }),
        _ => false,
    }
}

/// One step down.
fn child<'a, 'i>(node: Option<&'a mut Node<'i>>, step: &Step) -> Option<&'a mut Node<'i>> {
    match (node.map(Spanned::get_mut), step) {
        (Some(DeValue::Array(array)), Step::Index(index)) => array.get_mut(*index),
        (Some(DeValue::Table(table)), Step::Key(key)) => table.get_mut(key.as_str()),
        _ => None,
    }
}

/// Cuts out the entry or element at the end of the way.
pub(super) fn remove(root: &mut DeTable<'_>, path: &[Step]) -> bool {
    let Some((last, above)) = path.split_last() else { return false };
    let Some((first, between)) = above.split_first() else {
        return matches!(last, Step::Key(key) if root.remove(key.as_str()).is_some());
    };
    let Step::Key(first) = first else { return false };
    let mut node = root.get_mut(first.as_str());
    for step in between {
        node = child(node, step);
    }
    match (node.map(Spanned::get_mut), last) {
        (Some(DeValue::Array(array)), Step::Index(index)) if *index < array.len() => {
            *array = without(array, *index);
            true
        }
        (Some(DeValue::Table(table)), Step::Key(key)) => table.remove(key.as_str()).is_some(),
        _ => false,
    }
}

/// The array without one element; `DeArray` itself can only grow.
fn without<'i>(array: &DeArray<'i>, index: usize) -> DeArray<'i> {
    let mut rest = DeArray::new();
    for (at, element) in array.iter().enumerate() {
        if at != index {
            rest.push(element.clone());
        }
    }
    rest
}
