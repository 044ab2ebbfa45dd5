//! The paths that are the gateway's own (`[endpoints] prefix`), in every spelling.
//!
//! What lies below the prefix is never an upstream's: a request that an upstream could read so,
//! though it is spelled otherwise, must not reach it either (the routing rule for routes).

use super::canonical::{canonical, folded};

/// Registered by RFC 8414 §7.3.
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// The prefix, and on which host it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPaths {
    /// Lower case, without escapes and without a final slash.
    prefix: String,
    /// `None`: on every host.
    host: Option<String>,
    /// Where the metadata of the authorization server are, when there are any.
    well_known: Option<Box<str>>,
}

/// How a path stands to the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the prefix or below it.
    Below,
    /// Some would read it so, in another spelling.
    Misspelt,
    /// It is where the metadata are (RFC 8414 §3).
    WellKnown,
    /// It has nothing to do with it.
    Other,
}

impl OwnPaths {
    /// `prefix` as the configuration has checked it; `host` as in [`Self::is_served_on`].
    #[must_use]
    pub fn new(prefix: &str, host: Option<&str>) -> Self {
        let host = host.map(str::to_ascii_lowercase);
        Self { prefix: prefix.to_owned(), host, well_known: None }
    }

    /// The same with metadata of an issuer of this path, `/` and nothing being the same. Beside
    /// the prefix, on its host alone, for an upstream may be an authorization server as well.
    #[must_use]
    pub fn with_metadata_of(mut self, issuer_path: &str) -> Self {
        let path = format!("{WELL_KNOWN}{}", issuer_path.trim_end_matches('/'));
        // No request has another spelling than the canonical one.
        let path = canonical(&path).map(|canonical| canonical.as_str().into()).ok();
        self.well_known = path;
        self
    }

    /// Whether the endpoints are to be found under this host (lower case, without port).
    #[must_use]
    pub fn is_served_on(&self, host: &str) -> bool {
        self.host.as_ref().is_none_or(|own| own == host)
    }

    /// What stands behind the prefix, with its leading slash and without a final one; `None` for
    /// paths that are not below it.
    #[must_use]
    pub fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.prefix.as_str())?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// The path of an endpoint; `rest` as [`Self::rest`] tells it.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// Where a canonical path stands. Nearly every path is told by its first bytes.
    #[must_use]
    pub fn standing(&self, path: &str) -> Standing {
        if self.rest(path).is_some() {
            return Standing::Below;
        }
        if self.well_known.as_deref() == Some(path) {
            return Standing::WellKnown;
        }
        let mut prefix = self.prefix.bytes();
        let same = path
            .bytes()
            .zip(prefix.by_ref())
            .take_while(|(byte, own)| byte.eq_ignore_ascii_case(own));
        // A segment may end in dots that some drop; an escape may stand for anything.
        let next = path.as_bytes().get(same.count());
        let differs = !matches!(next, None | Some(b'/' | b'.' | b'%'));
        if differs {
            return Standing::Other;
        }
        let reading = folded(path);
        let is_own = reading.is_some_and(|reading| self.rest(&reading).is_some());
        if is_own { Standing::Misspelt } else { Standing::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources: R19, R20, design "Routing".
    #[test]
    fn every_spelling_is_recognised() {
        use Standing::{Below, Misspelt, Other};
        let own = OwnPaths::new("/_postern", None);
        for (path, standing) in [
            ("/_postern", Below),
            ("/_postern/", Below),
            ("/_postern/backchannel-logout", Below),
            ("/_postern/backchannel-logout/", Below),
            ("/_postern/x/y", Below),
            ("/_postern/X", Below),
            ("/_POSTERN/backchannel-logout", Misspelt),
            ("/_Postern", Misspelt),
            ("/_postern./x", Misspelt),
            ("/_postern.../x", Misspelt),
            ("/_postern%20/x", Misspelt),
            ("/_postern%20.", Misspelt),
            ("/%EF%BC%BFpostern/x", Misspelt),
            ("/_p%C5%8Fstern/x", Other),
            ("/_po%C5%BFtern/x", Misspelt),
            ("/_postern-docs/x", Other),
            ("/_posternx", Other),
            ("/_poster", Other),
            ("/", Other),
            ("/api/_postern/x", Other),
            ("/_postern.x/y", Other),
        ] {
            assert_eq!(own.standing(path), standing, "{path}");
        }
        let deep = OwnPaths::new("/auth/v1", None);
        for (path, standing) in [
            ("/auth/v1/x", Below),
            ("/AUTH/v1/x", Misspelt),
            ("/auth./V1", Misspelt),
            ("/auth/v2", Other),
            ("/auth", Other),
            ("/auth/v1x", Other),
        ] {
            assert_eq!(deep.standing(path), standing, "{path}");
        }
    }

    /// RFC 8414 §3.1: the suffix stands between the host and the issuer's path.
    #[test]
    fn the_metadata_have_one_path() {
        use Standing::{Other, WellKnown};
        for (issuer_path, path, standing) in [
            ("", "/.well-known/oauth-authorization-server", WellKnown),
            ("/", "/.well-known/oauth-authorization-server", WellKnown),
            ("/", "/.well-known/oauth-authorization-server/", Other),
            ("/tenant/a", "/.well-known/oauth-authorization-server/tenant/a", WellKnown),
            ("/tenant/a/", "/.well-known/oauth-authorization-server/tenant/a", WellKnown),
            ("/tenant", "/.well-known/oauth-authorization-server", Other),
            ("/tenant", "/tenant/.well-known/oauth-authorization-server", Other),
            ("", "/.well-known/openid-configuration", Other),
            ("", "/.Well-Known/oauth-authorization-server", Other),
        ] {
            let own = OwnPaths::new("/_postern", None).with_metadata_of(issuer_path);
            assert_eq!(own.standing(path), standing, "{issuer_path} {path}");
        }
        let none = OwnPaths::new("/_postern", None);
        assert_eq!(none.standing("/.well-known/oauth-authorization-server"), Other);
    }

    #[test]
    fn the_rest_is_what_endpoints_are_named_by() {
        let own = OwnPaths::new("/_postern", Some("API.example.com"));
        assert_eq!(own.rest("/_postern/a/b/"), Some("/a/b"));
        assert_eq!(own.rest("/_postern"), Some(""));
        assert_eq!(own.rest("/_posternx"), None);
        assert!(own.is_served_on("api.example.com") && !own.is_served_on("other.example.com"));
        assert!(OwnPaths::new("/_postern", None).is_served_on("any"));
    }
}
