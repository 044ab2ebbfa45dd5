//! What of `[issuing.users]` can be told without opening anything: exactly one source, claims that
//! are nobody else's, statements with their parameters.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::super::duration::Period;
use super::super::issuing::{SqlUsers, UpstreamUsers, UserSource, Users};
use super::super::problem::{Problem, Problems};
use super::{SecretKeys, distinct};

/// Claims that a token's own making decides about.
const RESERVED: [&str; 11] =
    ["aud", "client_id", "exp", "iat", "iss", "jti", "nbf", "sid", "typ", "cnf", "act"];

/// Claims with a key of their own in `columns`.
const OWN_KEYS: [&str; 3] = ["sub", "roles", "permissions"];

const TIMEOUT_MIN: Duration = Duration::from_millis(50);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) fn validate(users: &Spanned<Users>, problems: &mut Problems) {
    let (span, users) = (users.span(), users.get_ref());
    match users.source() {
        Some(UserSource::File(file)) if file.get_ref().as_os_str().is_empty() => {
            problems.push(Problem::at(file.span(), "an empty string names no file"));
        }
        Some(UserSource::File(_)) => {}
        Some(UserSource::Sql(sql)) => self::sql(sql, problems),
        Some(UserSource::Upstream(upstream)) => self::upstream(upstream.get_ref(), problems),
        None => one(users, span, problems),
    }
}

fn one(users: &Users, span: Range<usize>, problems: &mut Problems) {
    let given = [
        users.file.as_ref().map(Spanned::span),
        users.sql.as_ref().map(Spanned::span),
        users.upstream.as_ref().map(Spanned::span),
    ];
    let problem = match given.into_iter().flatten().nth(1) {
        Some(second) => Problem::at(second, "give one of file, sql and upstream, not several"),
        None => Problem::at(span, "[issuing.users] says nowhere who has an account"),
    };
    problems.push(problem.help(
        "write file = \"config/users\" (made by `postern user add`), sql = { ... } or upstream = \
         { ... }",
    ));
}

fn sql(sql: &Spanned<SqlUsers>, problems: &mut Problems) {
    let (span, sql) = (sql.span(), sql.get_ref());
    url(sql, span, problems);
    SecretKeys { stem: "url", file: &sql.url_file, env: &sql.url_env, command: &sql.url_command }
        .validate(problems);
    statements(sql, problems);
    for claim in sql.columns.claims.keys() {
        self::claim(claim, &OWN_KEYS, problems);
    }
    distinct(sql.kinds.spanned(), "this kind is listed twice", problems);
    timeout(&sql.timeout, problems);
    if !(1..=64).contains(sql.connections.get_ref()) {
        let message = "connections is not between 1 and 64";
        problems.push(Problem::at(sql.connections.span(), message));
    }
}

fn url(sql: &SqlUsers, span: Range<usize>, problems: &mut Problems) {
    let help = "write url_file = \"FILE\", url_env = \"NAME\" or url_command = [...]";
    let Some(url) = &sql.url else {
        if sql.secret_url().is_none() {
            problems.push(Problem::at(span, "sql has no database's URL").help(help));
        }
        return;
    };
    if sql.secret_url().is_some() {
        problems.push(Problem::at(url.span(), "give `url` or where it comes from, not both"));
    }
    if has_password(&url.get_ref().0) {
        let message = "a password in a URL that stands in the file is refused";
        problems.push(Problem::at(url.span(), message).help(help));
    }
}

/// Whether a user is followed by a password; everything up to the last `@` is taken for the two.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// One parameter in the query, three in the update; which placeholder is which, the database knows.
fn statements(sql: &SqlUsers, problems: &mut Problems) {
    let (query, text) = (&sql.query, &sql.query.get_ref().0);
    if !text.contains(['?', '$', '@', ':']) {
        problems.push(
            Problem::at(query.span(), "the query does not ask for an account by its name")
                .help("write a condition such as WHERE email = $1 (MySQL: WHERE email = ?)"),
        );
    }
    if let Some(update) = &sql.update {
        let text = &update.get_ref().0;
        let numbered = ["$1", "$2", "$3"].iter().all(|place| text.contains(place));
        if !numbered && text.matches('?').count() != 3 {
            problems.push(
                Problem::at(
                    update.span(),
                    "the update takes three parameters: new hash, account, \
                     old hash",
                )
                .help(
                    "write UPDATE users SET password_hash = $1 WHERE email = $2 AND \
                     password_hash = $3, so that a password set meanwhile stays",
                ),
            );
        }
    }
}

fn upstream(upstream: &UpstreamUsers, problems: &mut Problems) {
    let claims = &upstream.claims;
    if !claims.get_ref().keys().any(|claim| claim.get_ref() == "sub") {
        problems.push(
            Problem::at(claims.span(), "`sub` is missing in claims: nobody would know who it is")
                .help("write sub = \"/user/id\", the JSON Pointer to the user's id in the answer"),
        );
    }
    for claim in claims.get_ref().keys() {
        self::claim(claim, &[], problems);
    }
    let fields = &upstream.fields;
    if fields.username.get_ref() == fields.password.get_ref() {
        let places = [&fields.password, &fields.username].map(Spanned::span);
        let place = places.into_iter().find(|place| !place.is_empty()).unwrap_or_default();
        problems.push(Problem::at(place, "name and password have the same field"));
    }
    timeout(&upstream.timeout, problems);
    distinct(upstream.addresses.spanned(), "this network is listed twice", problems);
    let url = &upstream.url;
    let plain = url.get_ref().0.scheme() == "http";
    if plain && !url.get_ref().is_loopback() && upstream.addresses.is_empty() {
        problems.push(
            Problem::at(url.span(), "http to another machine: passwords would go in the clear")
                .help(
                    "write https://, or name the private network that the service is in: \
                     addresses = [\"10.0.0.0/8\"]",
                ),
        );
    }
    if let Some(ca) = upstream.ca.as_ref().filter(|_| plain) {
        problems.push(
            Problem::at(ca.span(), "`ca` has no effect: the endpoint is not reached over TLS")
                .help("write an https:// URL, or leave it out"),
        );
    }
}

fn claim(claim: &Spanned<String>, own: &[&str], problems: &mut Problems) {
    let name = claim.get_ref().as_str();
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        problems.push(Problem::at(claim.span(), "this is not a claim's name"));
    }
    if RESERVED.contains(&name) {
        let message = format!("the claim `{name}` is made by the gateway alone");
        problems.push(Problem::at(claim.span(), message));
    }
    if own.contains(&name) {
        let key = if name == "sub" { "subject" } else { name };
        let message = format!("the claim `{name}` has a key of its own");
        problems.push(Problem::at(claim.span(), message).help(format!("write {key} = \"COLUMN\"")));
    }
}

fn timeout(timeout: &Spanned<Period>, problems: &mut Problems) {
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout.get_ref().get()) {
        problems.push(Problem::at(timeout.span(), "timeout is not between 50ms and 1m"));
    }
}
