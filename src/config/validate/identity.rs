//! `[identity]`.

use http::HeaderName;

use super::super::identity::Identity;
use super::super::problem::{Problem, Problems};

/// Headers that carry the message itself, the token or the client's address; an identity header of
/// that name would break one of them.
pub(super) const NEVER: [&str; 26] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

pub(super) fn validate(identity: &Identity, problems: &mut Problems) {
    let mut seen: Vec<HeaderName> = Vec::new();
    for header in identity.headers.keys() {
        let Ok(name) = header.get_ref().parse::<HeaderName>() else {
            let message = format!("{:?} is not a header name", header.get_ref());
            problems.push(Problem::at(header.span(), message));
            continue;
        };
        if NEVER.contains(&name.as_str()) {
            problems.push(
                Problem::at(header.span(), format!("`{header}` cannot be an identity header"))
                    .help("choose a name of its own, such as X-Auth-Subject"),
            );
        }
        if name.as_str().contains('_') {
            // Many upstreams cannot tell it from `-`, and the guard drops such names.
            problems.push(
                Problem::at(header.span(), format!("`{header}` has an underscore"))
                    .help("write `-`: most servers take the two for the same"),
            );
        }
        if seen.contains(&name) {
            let message = format!("`{header}` is there already: case does not count");
            problems.push(Problem::at(header.span(), message));
        }
        seen.push(name);
    }
    for pattern in identity.reserved.spanned() {
        if let Some(name) = NEVER.iter().find(|name| pattern.get_ref().matches(name)) {
            problems.push(
                Problem::at(
                    pattern.span(),
                    format!("this would strip `{name}` from every request"),
                )
                .help("reserve names that only the gateway sets, such as \"X-Auth-*\""),
            );
        }
    }
}
