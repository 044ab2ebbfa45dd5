//! Values of every kind, as tables have them.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const BCRYPT: &str = "$2b$04$EGHR8YS9/f/xHOyP/8r0/OfLtW2oTsNkS/AB/TgTo7RbF5IwHxeNy";

/// A row as it might have come.
struct Row(BTreeMap<&'static str, Cell>);

impl Cells for Row {
    fn cell(&self, column: &str) -> Result<Option<Cell>, RecordError> {
        Ok(self.0.get(column).cloned())
    }
}

fn columns() -> Columns {
    let column = |name: &str| ColumnName { name: name.to_owned(), named: false };
    Columns {
        subject: column("id"),
        password: column("password_hash"),
        roles: column("roles"),
        permissions: column("permissions"),
        disabled: column("disabled"),
        enabled: column("enabled"),
        claims: BTreeMap::new(),
    }
}

fn read(cells: &[(&'static str, Cell)]) -> Result<Record, RecordError> {
    let mut row: BTreeMap<_, _> = cells.iter().cloned().collect();
    row.entry("password_hash").or_insert_with(|| text(BCRYPT));
    row.entry("id").or_insert_with(|| Cell::Integer(7));
    Record::read(&Row(row), "alice", &columns())
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn lists_in_every_form() {
    for (cell, roles) in [
        (text("a, b,,a "), vec!["a", "b"]),
        (text(""), vec![]),
        (text(" [\"a\", \"b,c\"]"), vec!["a", "b,c"]),
        (Cell::List(vec!["a".into(), "b".into()]), vec!["a", "b"]),
        (Cell::Json(json!(["a"])), vec!["a"]),
        (Cell::Json(json!("a")), vec!["a"]),
        (Cell::Json(Value::Null), vec![]),
        (Cell::Null, vec![]),
    ] {
        let record = read(&[("roles", cell.clone())]).unwrap();
        assert_eq!(record.account.roles, roles, "{cell:?}");
    }
    for cell in [
        text("[\"a\""),
        text("[1]"),
        text("a\nb"),
        Cell::List(vec!["a\0".into()]),
        Cell::Json(json!({"admin": true})),
        Cell::Json(json!([["admin"]])),
        Cell::Integer(1),
        Cell::Boolean(true),
    ] {
        assert!(read(&[("roles", cell.clone())]).is_err(), "{cell:?}");
    }
}

#[test]
fn who_it_is() {
    for (cell, subject) in [
        (text("u-1"), Some("u-1")),
        (Cell::Integer(-7), Some("-7")),
        (Cell::Null, None),
        (text(""), None),
        (text("client:x"), None),
        (text("a\u{7f}"), None),
        (Cell::Boolean(true), None),
        (Cell::Json(json!("x")), None),
    ] {
        let read = read(&[("id", cell.clone())]).map(|record| record.account.subject);
        assert_eq!(read.ok().as_deref(), subject, "{cell:?}");
    }
    // What the client typed is never who it is.
    let row = Row([("password_hash", text(BCRYPT))].into());
    let absent = Record::read(&row, "alice", &columns()).err().unwrap();
    assert!(matches!(&absent, RecordError::Absent(column) if column == "id"), "{absent}");
}

#[test]
fn who_may_not_log_in() {
    let disabled = |name, cell: Cell| read(&[(name, cell)]).map(|record| record.disabled).ok();
    for (cell, truth) in [
        (Cell::Boolean(true), Some(true)),
        (Cell::Boolean(false), Some(false)),
        (Cell::Integer(0), Some(false)),
        (Cell::Integer(2), Some(true)),
        (text("f"), Some(false)),
        (text("TRUE"), Some(true)),
        (Cell::Null, Some(false)),
        (text("perhaps"), None),
        (Cell::Json(json!(true)), None),
    ] {
        assert_eq!(disabled("disabled", cell.clone()), truth, "{cell:?}");
        assert_eq!(disabled("enabled", cell.clone()), truth.map(|truth| !truth), "{cell:?}");
    }
}

/// A fixed-width column is filled up with blanks; nothing else is forgiven.
#[test]
fn hashes() {
    assert!(read(&[("password_hash", text(&format!("{BCRYPT}   ")))]).is_ok());
    for cell in [Cell::Null, Cell::Integer(1), text(""), text("hunter2")] {
        let error = read(&[("password_hash", cell.clone())]).err().unwrap().to_string();
        assert!(error.contains("password_hash") && !error.contains("hunter2"), "{error}");
    }
}
