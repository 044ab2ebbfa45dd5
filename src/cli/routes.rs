//! `postern routes`: host, method, path → upstream, and the rule in words.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::{ConfigArgs, complain};
use crate::config::{
    Auth, Config, HostPattern, List, Options, PathPattern, Require, RequiredValue, Route, Spanned,
    Text,
};

/// Arguments of `postern routes`.
#[derive(Debug, Args)]
pub struct RoutesArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// One line of the table.
#[derive(Serialize)]
struct Row {
    name: String,
    hosts: Vec<String>,
    methods: Vec<String>,
    path: String,
    upstream: String,
    rule: String,
    /// The audience of the token that the upstream gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    assertion: Option<String>,
}

pub(super) fn run(args: &RoutesArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let loaded = match args.config.load(Options::OFFLINE) {
        Ok(loaded) => loaded,
        Err(text) => {
            complain(err, &text);
            return 2;
        }
    };
    let rows: Vec<Row> = {
        let routes = loaded.config.routes.iter().map(Spanned::get_ref);
        routes.map(|route| row(route, &loaded.config)).collect()
    };
    let text = if args.json {
        serde_json::to_string_pretty(&rows).unwrap_or_default()
    } else {
        table(&rows)
    };
    u8::from(writeln!(out, "{}", text.trim_end()).is_err())
}

fn row(route: &Route, config: &Config) -> Row {
    let assertion = assertion(route, config);
    let mut rule = rule(route);
    if let Some(audience) = &assertion {
        rule.push_str(&format!("; assertion for {audience}"));
    }
    Row {
        name: route.name.get_ref().clone(),
        hosts: route
            .hosts
            .iter()
            .map(|host| match host {
                HostPattern::Exact(name) => name.clone(),
                HostPattern::Below(name) => format!("*.{name}"),
            })
            .collect(),
        methods: route.methods.iter().map(|method| method.get().to_string()).collect(),
        path: match route.path.get_ref() {
            PathPattern::Exact(path) => path.clone(),
            PathPattern::Below(path) => format!("{path}/*"),
        },
        upstream: route.upstream.get_ref().clone(),
        rule,
        assertion,
    }
}

/// The audience of the token that is made for the route's upstream: where there may be a caller.
fn assertion(route: &Route, config: &Config) -> Option<String> {
    let named = |name: &&Spanned<String>| name.get_ref() == route.upstream.get_ref();
    let name = config.upstreams.keys().find(named)?;
    let assertion = config.upstreams.get(name)?.assertion.as_ref()?;
    let has_caller = *route.auth.get_ref() != Auth::None;
    has_caller.then(|| assertion.get_ref().audience.get_ref().0.clone())
}

/// The rule as one would say it.
fn rule(route: &Route) -> String {
    let who = match route.auth.get_ref() {
        Auth::None => return "anybody".to_owned(),
        Auth::Optional => "anybody; a token must be valid",
        Auth::Required => "a valid token",
    };
    let mut words = vec![who.to_owned()];
    if !route.issuers.is_empty() {
        words.push(format!("of {}", join(&route.issuers, " or ")));
    }
    words.extend(requirements(route.require.get_ref()));
    words.join(", ")
}

fn requirements(require: &Require) -> Vec<String> {
    let all = [
        ("role", &require.roles, " and "),
        ("scope", &require.scopes, " and "),
        ("permission", &require.permissions, " and "),
        ("role", &require.any_roles, " or "),
        ("scope", &require.any_scopes, " or "),
        ("permission", &require.any_permissions, " or "),
    ];
    let lists = all
        .into_iter()
        .filter(|(_, list, _)| !list.is_empty())
        .map(|(what, list, between)| format!("{what} {}", join(list, between)));
    let claims = require.claims.iter().map(|(path, value)| {
        let value = match value.get_ref() {
            RequiredValue::Boolean(value) => value.to_string(),
            RequiredValue::Integer(value) => value.to_string(),
            RequiredValue::Text(value) => format!("\"{value}\""),
        };
        format!("claim {} = {value}", path.get_ref())
    });
    lists.chain(claims).collect()
}

fn join(list: &List<Text>, between: &str) -> String {
    list.iter().map(|text| text.0.as_str()).collect::<Vec<_>>().join(between)
}

fn table(rows: &[Row]) -> String {
    let any = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(",") };
    let mut lines = vec![["HOST", "METHOD", "PATH", "UPSTREAM", "ROUTE", "RULE"].map(String::from)];
    lines.extend(rows.iter().map(|row| {
        [
            any(&row.hosts),
            any(&row.methods),
            row.path.clone(),
            row.upstream.clone(),
            row.name.clone(),
            row.rule.clone(),
        ]
    }));
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let show = |line: &[String; 6]| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(show).collect()
}
