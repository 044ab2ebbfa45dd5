//! Header names that only the gateway may speak: they are taken from every client's request, in
//! every spelling that an upstream might take for them (R24).

use http::HeaderName;
use http::header;

/// Stripped whatever the configuration says: the names of all presets, what proxies say of clients,
/// and what makes an upstream read another request than the one that was authorised (R22, R27).
const ALWAYS: &[&str] = &[
    // What proxies say of clients; rewritten by the gateway.
    "Forwarded",
    "X-Forwarded-*", // also Caddy, oauth2-proxy, X-Forwarded-Client-Cert, -Uri, -Method
    "X-Real-IP",
    "CF-Connecting-IP",
    "CF-Connecting-IPv6",
    "True-Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "X-Original-Forwarded-For",
    // Another request inside the request.
    "Proxy", // CVE-2016-5385 (httpoxy)
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Method",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Host",
    // Identities that other gateways vouch for.
    "Remote-*", // Authelia: User, Groups, Name, Email
    "X-Remote-*",
    "X-Auth-Request-*", // oauth2-proxy
    "X-Userinfo",       // APISIX
    "X-Consumer-*",     // Kong, APISIX
    "X-Credential-*",
    "X-Anonymous-Consumer",
    "X-Authenticated-*",
    "X-JWT-Payload", // Envoy
    "X-JWT-Claim-*",
    "X-Authentik-*",
    "X-Pomerium-*",
    "X-Postern-*",
    "Cf-Access-*",
    "X-Amzn-Oidc-*",
    "X-Goog-Authenticated-User-*",
    "X-Goog-IAP-*",
    "X-MS-CLIENT-PRINCIPAL*",
    "X-MS-Token-*",
    "X-WebAuth-*",
    // Client certificates that other gateways have checked.
    "SSL-Client-*",
    "X-SSL-*",
    "X-Client-Cert",
    "X-Client-Cert-*",
    "Client-Cert",
    "Client-Cert-*",
];

/// Names without which a request is not itself; reserving one is a mistake in the configuration.
const NEVER: &[HeaderName] = &[
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::AUTHORIZATION,
    header::COOKIE,
    header::CONNECTION,
    header::UPGRADE,
    header::EXPECT,
];

/// A pattern that cannot be reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservedError {
    /// Not a header name, perhaps with one `*` at its end.
    #[error("`{0}` is not a header name; `*` may stand at its end only, after at least one letter")]
    Pattern(String),
    /// It would take away a header that every request needs.
    #[error("`{0}` would strip `{1}` from every request")]
    Needed(String, HeaderName),
}

/// One reserved name, folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    text: Box<[u8]>,
    /// Whether every name that starts with `text` is meant.
    prefix: bool,
}

/// The reserved names, compiled for one search per header name.
///
/// A name is compared *folded*: letters without case, every other mark as `-`, because CGI and
/// WSGI make `X-Auth-Subject`, `X_Auth_Subject` and `X.Auth.Subject` one variable.
#[derive(Clone, Debug)]
pub struct ReservedNames {
    /// First bytes that any pattern starts with; most names are done here.
    first: [bool; 256],
    /// Sorted, and no pattern inside another's prefix: the only one that can match a name is the
    /// greatest that is not greater than the name.
    patterns: Vec<Pattern>,
}

impl ReservedNames {
    /// Compiles the names that are always reserved, those of `[identity] reserved`, and the
    /// gateway's own identity headers.
    ///
    /// # Errors
    ///
    /// [`ReservedError`] for a pattern that is no name, or that strips what every request needs.
    pub fn compile<'n>(
        reserved: impl IntoIterator<Item = &'n str>,
        identity: impl IntoIterator<Item = &'n HeaderName>,
    ) -> Result<Self, ReservedError> {
        let mut patterns = Vec::new();
        for text in ALWAYS.iter().copied().chain(reserved) {
            patterns.push(pattern(text)?);
        }
        for name in identity {
            patterns.push(pattern(name.as_str())?);
        }
        patterns.sort_unstable();
        patterns.dedup();
        // In sorted order whatever a prefix covers comes right behind it.
        let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            if kept.last().is_some_and(|last| last.prefix && pattern.text.starts_with(&last.text)) {
                continue;
            }
            kept.push(pattern);
        }
        let mut first = [false; 256];
        for byte in kept.iter().filter_map(|pattern| pattern.text.first()) {
            if let Some(starts) = first.get_mut(usize::from(*byte)) {
                *starts = true;
            }
        }
        Ok(Self { first, patterns: kept })
    }

    /// Whether only the gateway may speak `name`. No allocation.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let folded = || name.bytes().map(fold);
        let starts = folded().next().and_then(|byte| self.first.get(usize::from(byte)));
        if starts != Some(&true) {
            return false;
        }
        let after =
            self.patterns.partition_point(|pattern| pattern.text.iter().copied().le(folded()));
        self.patterns.get(after.wrapping_sub(1)).is_some_and(|pattern| {
            let length = pattern.text.len();
            name.len() >= length
                && (pattern.prefix || name.len() == length)
                && folded().take(length).eq(pattern.text.iter().copied())
        })
    }
}

/// Whether an upstream might take the two for one name.
#[must_use]
pub fn is_same_name(one: &HeaderName, other: &HeaderName) -> bool {
    one.as_str().bytes().map(fold).eq(other.as_str().bytes().map(fold))
}

/// A letter without case, a digit, or `-` for every other mark.
const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn pattern(text: &str) -> Result<Pattern, ReservedError> {
    let (name, prefix) = match text.strip_suffix('*') {
        Some(head) => (head, true),
        None => (text, false),
    };
    let valid = HeaderName::from_bytes(name.as_bytes()).is_ok();
    if !valid || name.contains('*') || !name.contains(|c: char| c.is_ascii_alphanumeric()) {
        return Err(ReservedError::Pattern(text.to_owned()));
    }
    let pattern = Pattern { text: name.bytes().map(fold).collect(), prefix };
    let needed = NEVER.iter().find(|needed| {
        let needed = needed.as_str().as_bytes();
        needed == &*pattern.text || (prefix && needed.starts_with(&pattern.text))
    });
    match needed {
        Some(needed) => Err(ReservedError::Needed(text.to_owned(), needed.clone())),
        None => Ok(pattern),
    }
}

#[cfg(test)]
mod tests;
