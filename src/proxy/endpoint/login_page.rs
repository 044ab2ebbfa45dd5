//! `GET {prefix}/login`: the page that asks for a name and a password, and what it says when they
//! were not accepted.
//!
//! One document that needs nothing else: no script, no font, no image. Its policy lets nothing in
//! but its own style, by hash, sends the form nowhere else, and lets nobody frame it.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::{Call, csrf};
use crate::body::Body;
use crate::proxy::csrf::double_submit::Bound;
use crate::proxy::head::Head;
use crate::proxy::measure::Decision;
use crate::proxy::session::return_to::own_page;
use crate::proxy::{Rejection, Trip};
use aws_lc_rs::digest::{SHA256, digest};

const STYLE: &str = include_str!("login_page.css");

static OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// With `no-referrer` browsers would send the form with `Origin: null` (Fetch, "append a request
/// Origin header").
const REFERRERS: HeaderValue = HeaderValue::from_static("same-origin");

/// CSP 3; the style by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// The page. Every value is escaped by the template but the style, which is our own.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{% if message.is_some() %}Error: {% endif %}Sign in – {{ site }}</title>
<style>{{ style|safe }}</style>
</head>
<body>
<main>
<h1>Sign in</h1>
<p class="site">to {{ site }}</p>
{% if let Some(message) = message %}<p class="alert" role="alert" id="message">{{ message }}</p>
{% endif %}<form method="post" action="{{ action }}">
<input type="hidden" name="csrf_token" value="{{ csrf_token }}">
<input type="hidden" name="return_to" value="{{ return_to }}">
<label for="username">Username</label>
<input id="username" name="username" type="text" value="{{ username }}"
 autocomplete="username" autocapitalize="none" spellcheck="false" required maxlength="256"
{%- if message.is_some() %} aria-describedby="message"{% else %} autofocus{% endif %}>
<label for="password">Password</label>
<input id="password" name="password" type="password"
 autocomplete="current-password" required maxlength="1024"
{%- if message.is_some() %} aria-describedby="message" autofocus{% endif %}>
<button type="submit">Sign in</button>
</form>
</main>
</body>
</html>
"#
)]
struct Page<'p> {
    style: &'p str,
    site: &'p str,
    action: &'p str,
    csrf_token: &'p str,
    return_to: &'p str,
    username: &'p str,
    message: Option<&'p str>,
}

/// What was filled in, for the page that is shown again.
#[derive(Default)]
pub(super) struct Filled {
    /// The name.
    pub(super) username: String,
    /// Where to go afterwards, as it was asked for.
    pub(super) return_to: String,
}

/// A refusal that is shown to a person.
#[derive(Debug)]
pub struct Shown {
    /// The refusal.
    pub why: Box<Rejection>,
    html: String,
    set: Option<HeaderValue>,
}

/// The page.
///
/// # Errors
///
/// 404 where there is none; 503.
pub(super) async fn answer(trip: &mut Trip, call: Call<'_>) -> Result<Response<Body>, Rejection> {
    let query = call.parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let return_to = pairs.find(|(name, _)| name == "return_to").map(|(_, value)| value);
    let filled =
        Filled { return_to: return_to.unwrap_or_default().into_owned(), ..Filled::default() };
    let headers = &call.parts.headers;
    let (html, set) = html(trip, call.head, headers, &filled, None)?;
    trip.decide(Decision::Allowed("login_page"));
    Ok(response(&call.parts.method, html, set))
}

/// The page once more, with what is to be said of the refusal.
pub(super) fn again(
    trip: &Trip,
    head: &Head,
    headers: &HeaderMap,
    filled: &Filled,
    why: Rejection,
) -> Rejection {
    let message = message(why.status());
    match html(trip, head, headers, filled, Some(message)) {
        Ok((html, set)) => Rejection::Shown(Box::new(Shown { why: Box::new(why), html, set })),
        Err(_) => why,
    }
}

/// One message for each kind of refusal, and none that tells which check failed.
fn message(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "The username or the password is not correct.",
        StatusCode::TOO_MANY_REQUESTS => "Too many attempts. Please wait a while and try again.",
        StatusCode::FORBIDDEN => {
            "This page was open for too long, or your browser blocks cookies. Please try again."
        }
        _ => "Signing in is not possible at the moment. Please try again.",
    }
}

fn html(
    trip: &Trip,
    head: &Head,
    headers: &HeaderMap,
    filled: &Filled,
    message: Option<&str>,
) -> Result<(String, Option<HeaderValue>), Rejection> {
    let cookies = trip.policy.cookies().filter(|cookies| cookies.login_page);
    let cookies = cookies.ok_or(Rejection::NotFound)?;
    let own = &trip.policy.own_paths;
    let (nonce, set) = csrf::nonce(headers, cookies)?;
    let page = Page {
        style: STYLE,
        site: &head.host(),
        action: &own.path("/login"),
        csrf_token: &Bound::Login.token(cookies, &nonce),
        return_to: &own_page(&filled.return_to, own).unwrap_or_default(),
        username: &filled.username,
        message,
    };
    let html = page.render().map_err(|_| Rejection::Unavailable("issuing_failed"))?;
    Ok((html, set))
}

fn response(method: &Method, html: String, set: Option<HeaderValue>) -> Response<Body> {
    let length = html.len();
    let is_head = *method == Method::HEAD;
    let mut response = Response::new(if is_head { Body::Empty } else { Body::full(html) });
    let headers = response.headers_mut();
    if is_head {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, REFERRERS);
    headers.insert(&OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.extend(set.map(|cookie| (SET_COOKIE, cookie)));
    response
}

impl Shown {
    /// The page with the refusal's status.
    #[must_use]
    pub fn answer(&self, method: &Method) -> Response<Body> {
        let mut response = response(method, self.html.clone(), self.set.clone());
        *response.status_mut() = self.why.status();
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(value: &str) -> String {
        let page = Page {
            style: STYLE,
            site: value,
            action: value,
            csrf_token: value,
            return_to: value,
            username: value,
            message: Some(value),
        };
        page.render().unwrap()
    }

    /// Source: OWASP XSS Prevention. Whatever is typed stays text.
    #[test]
    fn nothing_that_was_sent_becomes_markup() {
        for attack in ["<script>alert(1)</script>", "\"><img src=x onerror=a>", "' onfocus='a"] {
            let html = page(attack);
            assert!(!html.contains(attack), "{html}");
            assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        }
    }

    /// ASVS 5.0 3.4.3, 3.4.6: nothing is loaded, nothing runs, nobody frames it.
    #[test]
    fn the_policy_lets_in_nothing_but_the_style() {
        let response = response(&Method::GET, page("x"), None);
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(policy.contains("form-action 'self'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script"), "{policy}");
        let html = page("x");
        for foreign in ["http:", "https:", "<script", "<link", "<img", "url(", "@import", " on"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        // The browser takes the hash of what stands between the tags.
        let style = html.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
        assert_eq!(style, STYLE);
    }
}
