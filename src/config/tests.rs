//! Broken configurations and what is printed for them; the reference file against the types.

mod broken;
mod good;
mod reference;
mod secrets;
mod values;

use super::{Failure, Loaded, Options, Source, parse};

/// An environment with the variables that these tests speak of.
fn environment(name: &str) -> Option<String> {
    let value = match name {
        "EMPTY" => "",
        "LEVEL" => "debug",
        "PASSWORD" => "hunter2-hunter2",
        "PORT" => "9999",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Reads `text` as `p.toml`.
fn read(text: &str) -> Result<Loaded, Failure> {
    read_with(text, &[], Options::ONLINE)
}

fn read_with(text: &str, sets: &[&str], options: Options) -> Result<Loaded, Failure> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse(Source::new("p.toml", "/nowhere", text), &sets, &environment, options)
}

/// What is printed for a text that is refused.
fn refusal(text: &str) -> String {
    read(text).expect_err("a broken configuration was accepted").to_string()
}

/// A text with everything needed around `more`, which is one section.
fn with(more: &str) -> String {
    format!("listen.https = \"off\"\nlisten.plain = \"unix:run/p.sock\"\n{more}")
}
