//! How an identity provider is spoken of: its URLs, the hosts of its keys, and the client there.

use serde::Deserialize;
use url::{Host, Url};

use super::scalar::Scalar;

/// How the tokens of an issuer entry are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// By asking the provider (RFC 7662).
    Introspection,
    /// By their signature.
    Jwt,
}

/// Which `typ` the tokens of an entry have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum TokenType {
    /// Any that an access token may have (R13).
    #[serde(rename = "any")]
    Any,
    /// `at+jwt` with the claims of RFC 9068 §2.2.
    #[serde(rename = "at+jwt")]
    AtJwt,
}

/// How a client says who it is (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthentication {
    /// `Authorization: Basic`.
    Basic,
    /// In the form.
    Post,
}

/// Where something of a provider is: https, or http on this machine; without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct ProviderUrl(pub Url);

impl TryFrom<Scalar> for ProviderUrl {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a URL such as \"https://auth.example.com/jwks.json\"")?;
        provider_url(&text).map(Self)
    }
}

/// Reads a provider's URL. The error is a message, and a line of help behind a line break; it never
/// quotes a URL that may hold a password.
pub(super) fn provider_url(text: &str) -> Result<Url, String> {
    let url = bare_url(text)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(format!(
            "{text:?} is not encrypted: anyone on the way could put keys or answers into it\nwrite \
             https://; http:// is for this machine alone (127.0.0.1, [::1], localhost)"
        ));
    }
    Ok(url)
}

/// Reads an http or https URL without user and fragment. The error as for [`provider_url`].
pub(super) fn bare_url(text: &str) -> Result<Url, String> {
    let wrong = || "not a URL\nwrite \"https://HOST/PATH\"".to_owned();
    // `Url` repairs what it can: "https:host", a backslash, spaces around. What stands in the file
    // is to be what is meant.
    let written = text.starts_with("https://") || text.starts_with("http://");
    if !written || text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return Err(wrong());
    }
    let url = Url::parse(text).map_err(|_| wrong())?;
    // An empty user is one too: what follows `@` is the host that is meant, or not.
    let authority = text.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
    if authority.is_none_or(|authority| authority.contains('@')) {
        return Err("a user or password in the URL is refused\nwrite the URL without it".to_owned());
    }
    if url.fragment().is_some() {
        return Err(format!(
            "{text:?} has a fragment, which is never sent\nleave out `#` and \
                            what follows"
        ));
    }
    if url.port() == Some(0) {
        return Err(wrong());
    }
    Ok(url)
}

/// Whether the URL leads to this machine by its very text.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A host without scheme, port and path: a name or an address, an IPv6 one in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Scalar")]
pub struct HostName(Host<String>);

impl HostName {
    /// As a URL's host is written: in lower case, international names in their ASCII form.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

impl TryFrom<Scalar> for HostName {
    type Error = String;

    fn try_from(scalar: Scalar) -> Result<Self, String> {
        let text = scalar.text("a host such as \"keys.example.com\"")?;
        let refuse = || {
            format!(
                "{text:?} is not a host\nwrite the name alone, without scheme, port and path: \
                 \"keys.example.com\""
            )
        };
        let name = !text.starts_with('[') && text.contains([':', '/', '*', '%']);
        if name || text.is_empty() {
            return Err(refuse());
        }
        Host::parse(&text).map(Self).map_err(|_| refuse())
    }
}
