//! Where a browser goes after a login or a logout: a page of its own site, and nowhere else
//! (CWE-601).

use url::Url;

use super::refusal::RETURN_TO_BYTES_MAX;
use crate::policy::canonical::canonical;
use crate::policy::own_paths::{OwnPaths, Standing};

/// The target, when it is one of the routes' paths under this very origin, in its one spelling and
/// as every browser reads it; none of the gateway's own, so that a login never leads to a login.
#[must_use]
pub fn own_page(asked: &str, own: &OwnPaths) -> Option<String> {
    // Nothing that browsers strip (tab, line breaks), trim (spaces), or take for a slash.
    let plain = asked.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>#".contains(&byte));
    if !plain || asked.len() > RETURN_TO_BYTES_MAX {
        return None;
    }
    // The path that the gateway itself would take: refused are `//`, dot segments, and every
    // encoded slash, backslash, dot and control character.
    let target = canonical(asked).ok()?;
    let is_other = own.standing(target.path()) == Standing::Other;
    let target = target.as_str();
    // As browsers resolve it (WHATWG URL), whatever was thought of above.
    let site = Url::parse("https://site.invalid/").ok()?;
    let resolved = site.join(target).ok()?;
    (is_other && resolved.origin() == site.origin()).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(asked: &str) -> Option<String> {
        own_page(asked, &OwnPaths::new("/_postern", None))
    }

    /// Sources: CWE-601; OWASP Unvalidated Redirects; PayloadsAllTheThings "Open Redirect";
    /// CVE-2020-5233, CVE-2021-21291 (oauth2-proxy), CVE-2022-0869 (WHATWG backslashes).
    #[test]
    fn no_other_site_is_a_page_of_this_one() {
        for asked in [
            "",
            "evil.example",
            "https://evil.example",
            "HTTPS://evil.example/",
            "http:evil.example",
            "https:/evil.example",
            "https:///evil.example",
            "//evil.example",
            "///evil.example",
            "////evil.example/%2e%2e",
            "/\\evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "/\\/evil.example",
            "/%5Cevil.example",
            "/%5cevil.example",
            "/%2Fevil.example",
            "/%2f%2fevil.example",
            "/%252Fevil.example",
            "/a/%2e%2e//evil.example",
            "/.//evil.example",
            "/..//evil.example",
            "/./evil",
            "/a/../../evil",
            "/%2e%2e/evil",
            "/.%2e/evil",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/ /evil.example",
            "/%09/evil.example",
            "/%0a/evil.example",
            "/%00/evil.example",
            "/%0d%0aSet-Cookie:a=b",
            "/a\r\nLocation: https://evil.example",
            "/\u{a0}/evil.example",
            "/\u{ff0f}/evil.example",
            "/\u{3002}evil.example",
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "data:text/html,x",
            "?x=https://evil.example",
            "#//evil.example",
            "/a#//evil.example",
            "/;@evil.example",
            "/@evil.example/..;/",
            "@evil.example",
            ".evil.example",
            ":443/evil",
            "/a\"><script>",
            "/%ff",
            "/%u002f",
            "/%",
            "/%c0%af",
        ] {
            assert_eq!(own(asked), None, "{asked:?}");
        }
        assert_eq!(own(&format!("/{}", "a".repeat(RETURN_TO_BYTES_MAX))), None);
    }

    #[test]
    fn no_login_leads_to_a_login() {
        for asked in ["/_postern/login", "/_postern", "/_POSTERN/login", "/_postern./logout"] {
            assert_eq!(own(asked), None, "{asked}");
        }
    }

    #[test]
    fn own_pages_are() {
        for asked in [
            "/",
            "/app",
            "/app/",
            "/app?x=//evil.example&y=%2F%2F",
            "/app/caf%C3%A9?q=a+b",
            "/@evil.example",
            "/app?next=https://evil.example",
            "/_posternx",
        ] {
            assert_eq!(own(asked).as_deref(), Some(asked));
        }
    }
}
