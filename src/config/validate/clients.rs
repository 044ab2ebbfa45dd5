//! `[[clients]]`.

use std::collections::BTreeSet;

use toml::Spanned;

use super::super::Config;
use super::super::clients::{Client, MayRevoke};
use super::super::problem::{Problem, Problems};
use super::super::shape::Declared;
use super::distinct;

pub(super) fn validate(config: &Config, declared: &Declared, problems: &mut Problems) {
    let Some(issuing) = &config.issuing else {
        if let Some(first) = config.clients.first() {
            problems.push(
                Problem::at(first.span(), "[[clients]] without [issuing]: nobody issues tokens")
                    .help("write an [issuing] section, or leave the clients out"),
            );
        }
        return;
    };
    let of_logins = &issuing.get_ref().client_id.get_ref().0;
    let mut ids = BTreeSet::new();
    for placed in &config.clients {
        let client = placed.get_ref();
        let id = &client.id.get_ref().0;
        // Services behind may not tell letters' cases apart.
        let is_known = declared.client_ids.contains(id);
        if is_known && !ids.insert(id.to_ascii_lowercase()) {
            let message = format!("another client has the id {id:?}, in whatever case of letters");
            problems.push(Problem::at(client.id.span(), message));
        }
        if id.eq_ignore_ascii_case(of_logins) {
            problems.push(
                Problem::at(client.id.span(), format!("{id:?} is the client of logins"))
                    .help("choose another id, or another [issuing] client_id"),
            );
        }
        // What could not be read has another name in its place.
        let called = if is_known { format!("client {id:?}") } else { "this client".to_owned() };
        one(placed, &called, problems);
    }
}

fn one(placed: &Spanned<Client>, called: &str, problems: &mut Problems) {
    let client = placed.get_ref();
    match (&client.secret_hash_file, &client.jwks_file) {
        (Some(_), Some(keys)) => problems.push(
            Problem::at(keys.span(), format!("{called} has a secret and keys"))
                .help("one way to say who it is: the keys are the better one"),
        ),
        (None, None) => problems.push(
            Problem::at(placed.span(), format!("{called} cannot say who it is"))
                .help("write jwks_file = \"FILE\" or secret_hash_file = \"FILE\""),
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let for_tokens = [
        ("roles", client.roles.span(), client.roles.is_empty()),
        ("permissions", client.permissions.span(), client.permissions.is_empty()),
        ("scopes", client.scopes.span(), client.scopes.is_empty()),
    ];
    for (key, span, is_empty) in for_tokens {
        if client.grants.is_empty() && !is_empty {
            problems.push(
                Problem::at(span, format!("{key} of {called}, which gets no tokens"))
                    .help("write grants = [\"client_credentials\"]"),
            );
        }
    }
    let may_nothing = client.grants.is_empty()
        && !client.may_introspect.get_ref()
        && *client.may_revoke.get_ref() == MayRevoke::Own;
    if may_nothing {
        let grants = client.grants.span();
        let place = if grants.is_empty() { placed.span() } else { grants };
        problems.push(
            // Where there is a list of grants, it is what is empty.
            Problem::at(place, format!("{called} may do nothing"))
                .help("write grants, may_introspect = true or may_revoke = \"any\""),
        );
    }
    if let Some(audiences) = &client.audiences {
        if audiences.is_empty() {
            let message = format!("{called} has no audience: nobody could take its tokens");
            problems.push(Problem::at(audiences.span(), message));
        }
        distinct(audiences.spanned(), "this audience is listed twice", problems);
    }
    distinct(client.roles.spanned(), "this role is listed twice", problems);
    distinct(client.permissions.spanned(), "this permission is listed twice", problems);
    distinct(client.scopes.spanned(), "this scope is listed twice", problems);
    for text in client.roles.spanned().chain(client.permissions.spanned()) {
        if text.get_ref().0.chars().any(char::is_control) {
            problems.push(Problem::at(text.span(), "this has a control character"));
        }
    }
}
