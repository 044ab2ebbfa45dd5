//! The header guard: what a client may not say, and what belongs to its connection only, is gone
//! before anything else looks at the request. It runs on every request, on public routes too.
//!
//! Host, Content-Length and Transfer-Encoding frame the message; they are the pipeline's to check
//! and to write. What a trusted proxy said is read before this (`super::client`).

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
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
/// A request that has none of these costs one look at each name and no allocation.
pub fn guard(headers: &mut HeaderMap, reserved: &ReservedNames) -> Hop {
    strip(headers, |name| {
        // Request trailers are dropped, so none are announced.
        is_hop_by_hop(name)
            || matches!(*name, TRAILER)
            || name.as_str().as_bytes().contains(&b'_')
            || reserved.contains(name.as_str())
    })
}

/// Removes hop-by-hop fields and those that Connection names from an upstream's response, the
/// framing included: our side of the connection is framed anew. `Trailer` stays, for trailers are
/// forwarded.
pub fn strip_response(headers: &mut HeaderMap) -> Hop {
    strip(headers, |name| {
        is_hop_by_hop(name) || matches!(*name, PROXY_AUTHENTICATE | TRANSFER_ENCODING)
    })
}

/// One pass over the names; nothing is allocated when there is nothing to remove but Connection.
fn strip(headers: &mut HeaderMap, is_doomed: impl Fn(&HeaderName) -> bool) -> Hop {
    let (mut asks, mut connection, mut asks_more) = (false, false, false);
    let mut doomed: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        if matches!(*name, CONNECTION) {
            connection = true;
            asks_more |= !value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
        } else if is_doomed(name) {
            asks |= matches!(*name, TE);
            doomed.push(name.clone());
        }
    }
    let mut hop = Hop::default();
    if asks {
        hop.trailers = wants_trailers(headers);
    }
    if asks_more {
        strip_named(headers, &mut hop);
    }
    if connection {
        headers.remove(CONNECTION);
    }
    for name in doomed {
        headers.remove(name);
    }
    hop
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(*name, CONNECTION | PROXY_AUTHORIZATION | TE | UPGRADE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Reads what Connection and Upgrade ask for and removes the fields that Connection names.
fn strip_named(headers: &mut HeaderMap, hop: &mut Hop) {
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
