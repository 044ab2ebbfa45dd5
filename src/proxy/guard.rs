//! The header guard: what a client may not say, and what belongs to its connection only, is gone
//! before anything else looks at the request. It runs on every request, on public routes too.
//!
//! Host, Content-Length and Transfer-Encoding frame the message; they are the pipeline's to check
//! and to write. What a trusted proxy said is read before this (`super::client`).

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::policy::reserved::ReservedNames;

/// What the removed hop-by-hop fields had asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hop {
    /// The upgrade that Connection and Upgrade asked for.
    pub upgrade: Upgrade,
    /// `TE: trailers`: the client can take trailers.
    pub trailers: bool,
    /// `Connection: close`.
    pub close: bool,
}

/// An upgrade that was asked for. Anything but `websocket` alone is never passed on (R32): h2c
/// would carry requests past the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// None.
    #[default]
    None,
    /// Something else, or several things.
    Other,
    /// `Upgrade: websocket`, and `Connection: upgrade`.
    WebSocket,
}

/// Removes from a client's request: hop-by-hop fields and those that Connection names (RFC 9110
/// §7.6.1, R26); every reserved name in every spelling (R22, R24, R27); every other name with `_`,
/// which upstreams read as another name.
///
/// A request that has none of these costs one search per name and no allocation.
pub fn guard(headers: &mut HeaderMap, reserved: &ReservedNames) -> Hop {
    // Fields that Connection names go first: what they are makes no difference then.
    let hop = strip_named(headers);
    remove_where(headers, |name| {
        // Request trailers are dropped, so none are announced.
        is_hop_by_hop(name)
            || name.as_str() == "trailer"
            || name.as_str().as_bytes().contains(&b'_')
            || reserved.contains(name.as_str())
    });
    hop
}

/// Removes hop-by-hop fields and those that Connection names from an upstream's response, the
/// framing included: our side of the connection is framed anew. `Trailer` stays, for trailers are
/// forwarded.
pub fn strip_response(headers: &mut HeaderMap) -> Hop {
    let hop = strip_named(headers);
    remove_where(headers, |name| {
        is_hop_by_hop(name) || matches!(name.as_str(), "transfer-encoding" | "proxy-authenticate")
    });
    hop
}

/// One pass over the names; nothing is allocated when nothing is to be removed.
fn remove_where(headers: &mut HeaderMap, is_doomed: impl Fn(&HeaderName) -> bool) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for name in headers.keys() {
        if is_doomed(name) {
            doomed.push(name.clone());
        }
    }
    for name in doomed {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "upgrade"
            | "te"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
    )
}

/// Reads what the hop-by-hop fields ask for and removes the fields that Connection names.
fn strip_named(headers: &mut HeaderMap) -> Hop {
    let mut hop = Hop::default();
    if headers.contains_key(TE) {
        hop.trailers = wants_trailers(headers);
    }
    if !headers.contains_key(CONNECTION) {
        return hop;
    }
    let mut asks_upgrade = false;
    let mut named: Vec<HeaderValue> = Vec::new();
    for line in headers.get_all(CONNECTION) {
        let mut others = false;
        for option in options(line) {
            if option.eq_ignore_ascii_case(b"close") {
                hop.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                asks_upgrade = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                others = true;
            }
        }
        if others {
            named.push(line.clone());
        }
    }
    if asks_upgrade {
        hop.upgrade = upgrade(headers);
    }
    for line in &named {
        for option in options(line) {
            remove_named(headers, option);
        }
    }
    hop
}

/// A field that Connection names is the connection's, unless it frames the message: `Connection:
/// Content-Length` must not change where the message ends.
fn remove_named(headers: &mut HeaderMap, option: &[u8]) {
    let Ok(name) = HeaderName::from_bytes(option) else { return };
    if name != HOST && name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
        headers.remove(name);
    }
}

fn upgrade(headers: &HeaderMap) -> Upgrade {
    let mut protocols = headers.get_all(UPGRADE).iter().flat_map(options);
    match (protocols.next(), protocols.next()) {
        (None, _) => Upgrade::None,
        (Some(only), None) if only.eq_ignore_ascii_case(b"websocket") => Upgrade::WebSocket,
        (Some(_), _) => Upgrade::Other,
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TE).iter().flat_map(options);
    codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// The elements of a comma-separated field line.
fn options(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|o| !o.is_empty())
}

#[cfg(test)]
mod tests;
