//! `postern user list`.

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, Io, WhichFile};
use crate::cli::token::Format;
use crate::issuer::account::Work;
use crate::issuer::account::file::{Entry, Table};

/// What the table says above its columns.
const HEADER: [&str; 6] = ["ACCOUNT", "ID", "ROLES", "PERMISSIONS", "HASH", "STATE"];

/// Arguments of `postern user list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// For people or for programs
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Where.
    #[command(flatten)]
    pub which: WhichFile,
}

pub(super) fn run(args: &ListArgs, io: &mut Io<'_>) -> Result<(), Failure> {
    let table = Table::load(&args.which.path()?)?;
    let entries = table.entries();
    let written = match args.format {
        Format::Json => {
            let accounts: Vec<Value> = entries.iter().map(|entry| document(entry)).collect();
            writeln!(io.out, "{:#}", json!({ "accounts": accounts }))
        }
        Format::Text => write!(io.out, "{}", aligned(&entries)),
    };
    written.map_err(|error| Failure::Io("output".into(), error))
}

fn document(entry: &Entry) -> Value {
    json!({
        "account": entry.name,
        "id": entry.subject(),
        "roles": entry.roles,
        "permissions": entry.permissions,
        "disabled": entry.disabled,
        "hash": kind(entry),
        "outdated": entry.hash.is_outdated(),
    })
}

fn aligned(entries: &[&Entry]) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| row(entry)));
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..HEADER.len()).filter_map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row(entry: &Entry) -> [String; 6] {
    let outdated = if entry.hash.is_outdated() { " (outdated)" } else { "" };
    [
        entry.name.clone(),
        entry.subject().to_owned(),
        entry.roles.join(","),
        entry.permissions.join(","),
        format!("{}{outdated}", kind(entry)),
        if entry.disabled { "disabled" } else { "active" }.to_owned(),
    ]
}

fn kind(entry: &Entry) -> &'static str {
    match entry.hash.work() {
        Work::Argon2 { algorithm, .. } => algorithm.as_str(),
        Work::Bcrypt { .. } => "bcrypt",
        Work::Scrypt { .. } => "scrypt",
    }
}
