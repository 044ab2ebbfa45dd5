//! The paths that are the gateway's own (`[endpoints] prefix`), in every spelling.
//!
//! What lies below the prefix is never an upstream's: a request that an upstream could read so,
//! though it is spelled otherwise, must not reach it either (the routing rule for routes).

use super::canonical::folded;

/// The prefix, and on which host it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPaths {
    /// Lower case, without escapes and without a final slash.
    prefix: String,
    /// `None`: on every host.
    host: Option<String>,
}

/// How a path stands to the prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the prefix or below it.
    Below,
    /// Some would read it so, in another spelling.
    Misspelt,
    /// It has nothing to do with it.
    Other,
}

impl OwnPaths {
    /// `prefix` as the configuration has checked it; `host` as in [`Self::is_served_on`].
    #[must_use]
    pub fn new(prefix: &str, host: Option<&str>) -> Self {
        Self { prefix: prefix.to_owned(), host: host.map(str::to_ascii_lowercase) }
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
