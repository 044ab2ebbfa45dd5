//! The web origin under which browsers know this gateway: `[listen] public_url`.

/// A scheme, host and port as a browser writes them in `Origin` (RFC 6454 §6.2): lower case, no
/// default port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// Not the URL of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is https://HOST or https://HOST:PORT, without path, query or user")]
pub struct OriginError;

impl Origin {
    /// Reads `https://host[:port]`; `http` is read too, and whether it may be used is the
    /// configuration's question. One trailing `/` is forgiven.
    ///
    /// # Errors
    ///
    /// [`OriginError`] for anything more or less than a scheme, a host and perhaps a port.
    pub fn parse(url: &str) -> Result<Self, OriginError> {
        let url: http::Uri = url.parse().map_err(|_| OriginError)?;
        let scheme = url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let (Some(scheme), Some(authority)) = (scheme, url.authority()) else {
            return Err(OriginError);
        };
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let host = authority.host().to_ascii_lowercase();
        let port = authority.as_str().len() > authority.host().len();
        if !bare || host.is_empty() || authority.as_str().contains('@') {
            return Err(OriginError);
        }
        match (authority.port_u16(), port) {
            (None, true) => Err(OriginError),
            (None, false) => Ok(Self(format!("{scheme}://{host}"))),
            (Some(443), _) if scheme == "https" => Ok(Self(format!("{scheme}://{host}"))),
            (Some(80), _) if scheme == "http" => Ok(Self(format!("{scheme}://{host}"))),
            (Some(port), _) => Ok(Self(format!("{scheme}://{host}:{port}"))),
        }
    }

    /// The serialised origin, for example `https://api.example.com`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_origin_is_an_origin() {
        for url in [
            "",
            "api.example.com",
            "//api.example.com",
            "ftp://api.example.com",
            "https://",
            "https://api.example.com/path",
            "https://api.example.com/?q",
            "https://user@api.example.com",
            "https://api.example.com:",
            "https://api.example.com:99999",
            "null",
        ] {
            assert_eq!(Origin::parse(url), Err(OriginError), "{url}");
        }
    }

    /// Source: RFC 6454 §6.2.
    #[test]
    fn it_is_written_as_browsers_write_it() {
        for (url, origin) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.Example.com/", "https://api.example.com"),
            ("https://api.example.com:443", "https://api.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("https://localhost:8443", "https://localhost:8443"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ] {
            assert_eq!(Origin::parse(url).unwrap().as_str(), origin, "{url}");
        }
    }
}
