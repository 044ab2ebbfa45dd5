//! Logging in and out with a cookie: what the endpoints do for browsers beyond what they do for
//! programs.
//!
//! It must never take over a session id that a browser brings to its login (CWE-384), nor log
//! anybody in or out on another site's behalf.

use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::Call;
use super::errand::{Errand, to_its_end};
use super::fields::Fields;
use super::grant::{Tokens, nothing};
use super::login::{Credentials, log_in};
use super::login_page::{self, Filled};
use super::logout::{end_all, end_session};
use crate::auth::extract::{bearer, cookie_value};
use crate::body::Body;
use crate::issuer::{Login, SessionId};
use crate::observe::audit::{Kind, Outcome};
use crate::policy::Snapshot;
use crate::policy::cookies::Cookies;
use crate::proxy::csrf::double_submit::{Bound, FORM_FIELD, Nonce};
use crate::proxy::csrf::{not_contradicted, session};
use crate::proxy::forward::Inbound;
use crate::proxy::head::Head;
use crate::proxy::measure::Decision;
use crate::proxy::session::return_to::own_page;
use crate::proxy::session::{NoSession, may_be_asked, note_nobodys};
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;
use crate::time::UnixTime;

static CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What pages of a session may have left in the browser's cache. Its cookies are taken back one by
/// one, and what an application stores is the application's.
const CACHE: HeaderValue = HeaderValue::from_static("\"cache\"");

/// The session cookie of a request, where that and nothing else says who is calling.
pub(super) fn session_cookie<'p>(parts: &'p Parts, policy: &Snapshot) -> Option<&'p str> {
    let cookies = policy.cookies()?;
    let bytes_max = policy.limits.authorization_bytes;
    let has_bearer = !matches!(bearer(&parts.headers, bytes_max), Ok(None));
    cookie_value(&parts.headers, &cookies.session).ok().flatten().filter(|_| !has_bearer)
}

/// Whether a request to an endpoint may spend its session's cookie.
///
/// # Errors
///
/// [`Rejection::Csrf`]; those of reading a form.
pub(super) async fn may_spend(
    trip: &Trip,
    head: &Head,
    parts: &Parts,
    inbound: &mut Inbound,
) -> Result<(), Rejection> {
    let public = head.origin(&trip.policy).ok_or(Rejection::Csrf("csrf"))?;
    not_contradicted(&parts.headers, &public).map_err(|_| Rejection::Csrf("csrf"))?;
    let cookies = trip.policy.cookies().ok_or(Rejection::Csrf("csrf"))?;
    session::token(parts, inbound, cookies, trip.policy.timeouts.body_idle).await
}

/// Logs a browser in: its cookie with 204, or with 303 for a form. A form that is refused is shown
/// again, with one message for every cause.
///
/// # Errors
///
/// Those of [`log_in`]; 403 for a form without the page's own token.
pub(super) async fn begin(
    trip: &mut Trip,
    (head, parts): (&Head, &Parts),
    mut fields: Fields,
) -> Result<Response<Body>, Rejection> {
    let policy = trip.policy.clone();
    let cookies = policy.cookies().ok_or(Rejection::NotFound)?;
    if !fields.is_form() {
        let id = enter(trip, parts, &mut fields).await?;
        trip.decide(Decision::Allowed("login"));
        return Ok(with_cookies(nothing(), [cookies.set_session(id.expose())]));
    }
    let query = parts.uri.query().unwrap_or_default();
    let mut filled = Filled::default();
    if let Some(return_to) = fields.optional("return_to")? {
        filled.return_to.clone_from(return_to.expose());
    } else if let Some((_, value)) =
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "return_to")
    {
        filled.return_to = value.into_owned();
    }
    let entered = match may_log_in(parts, &mut fields, cookies) {
        Ok(()) => {
            let name = fields.required("username")?;
            filled.username.clone_from(name.expose());
            let password = fields.required("password")?;
            enter_with(trip, parts, Credentials { name, password }).await
        }
        Err(rejection) => Err(rejection),
    };
    match entered {
        Ok(id) => {
            trip.decide(Decision::Allowed("login"));
            let place = own_page(&filled.return_to, &policy.own_paths);
            let response = see_other(place.as_deref().unwrap_or("/"));
            Ok(with_cookies(response, [cookies.set_session(id.expose())]))
        }
        Err(why) if cookies.login_page => {
            Err(login_page::again(trip, head, &parts.headers, &filled, why))
        }
        Err(why) => Err(why),
    }
}

/// A form of another site, or of none, logs nobody in (login CSRF).
fn may_log_in(parts: &Parts, fields: &mut Fields, cookies: &Cookies) -> Result<(), Rejection> {
    let refused = || Rejection::Csrf("csrf_token");
    let token = fields.optional(FORM_FIELD)?.ok_or_else(refused)?;
    let nonce = Nonce::of(&parts.headers, cookies).ok_or_else(refused)?;
    let id = cookie_value(&parts.headers, &cookies.session).ok().flatten();
    let is_good = |bound: Bound<'_>| bound.accepts(token.expose(), cookies, &nonce);
    // A page that is logged in may offer to log in as somebody else.
    let accepted = is_good(Bound::Login) || id.is_some_and(|id| is_good(Bound::Session(id)));
    if accepted { Ok(()) } else { Err(refused()) }
}

async fn enter(
    trip: &Trip,
    parts: &Parts,
    fields: &mut Fields,
) -> Result<Secret<String>, Rejection> {
    let (name, password) = (fields.required("username")?, fields.required("password")?);
    enter_with(trip, parts, Credentials { name, password }).await
}

/// A new session, under a new id; the one that the browser had is over.
async fn enter_with(
    trip: &Trip,
    parts: &Parts,
    credentials: Credentials,
) -> Result<Secret<String>, Rejection> {
    let tokens = log_in(trip, &parts.headers, credentials, true).await?;
    let errand = Errand::of(trip, &parts.headers)?;
    let Tokens { issued, access } = tokens;
    let id = issued.session.ok_or(Rejection::Unavailable("issuing_failed"))?;
    if let Err(rejection) = leave_old(trip, parts, &errand).await {
        if let Err(error) = errand.families.end(&issued.login.sid, UnixTime::now()).await {
            let sid = issued.login.sid;
            tracing::warn!(sid, %error, "a session that nobody has was not ended");
        }
        return Err(rejection);
    }
    let place = (&*issued.login.sid, issued.turn);
    let kept = errand.families.keep_access(&id, place, &access.text, UnixTime::now()).await;
    if let Err(error) = kept {
        // The first request makes its own.
        tracing::debug!(sid = issued.login.sid, %error, "an access token was not kept");
    }
    Ok(id.text())
}

/// Ends the session behind the cookie that was sent to the login.
async fn leave_old(trip: &Trip, parts: &Parts, errand: &Errand) -> Result<(), Rejection> {
    let Some(cookies) = trip.policy.cookies() else { return Ok(()) };
    let Some(old) = cookie_value(&parts.headers, &cookies.session).ok().flatten() else {
        return Ok(());
    };
    match login_behind(errand, old).await? {
        None => Ok(()),
        Some(login) => leave(trip, errand, &login, old, false).await,
    }
}

/// The login of a session; `None` when it is over.
async fn login_behind(errand: &Errand, cookie: &str) -> Result<Option<Login>, Rejection> {
    let Some(id) = SessionId::parse(cookie) else { return Ok(None) };
    let session = errand.families.session(&id, UnixTime::now()).await;
    let Some(session) = session.map_err(|error| errand.unavailable(&error))? else {
        return Ok(None);
    };
    let login = errand.families.login_of(&session).await;
    Ok(login.map_err(|error| errand.unavailable(&error))?.ok())
}

async fn leave(
    trip: &Trip,
    errand: &Errand,
    login: &Login,
    cookie: &str,
    all: bool,
) -> Result<(), Rejection> {
    let (errand, login) = (errand.clone(), login.clone());
    let ended = to_its_end(async move {
        if all {
            return end_all(&errand, &login.subject, None).await;
        }
        let event = errand.event_of(Kind::Logout, Outcome::Asked, &login);
        end_session(&errand, event, (&login.subject, &login.sid), None).await
    });
    ended.await?;
    trip.worker.gateway.sessions.forget(cookie);
    Ok(())
}

/// Logs a browser out: its cookies are taken back, with 204, or with 303 for a form.
///
/// # Errors
///
/// 403 without the session's own token; 401 when the session is over already, with the cookies
/// taken back all the same; 429; 503 when it was not confirmed.
pub(super) async fn end(
    trip: &mut Trip,
    call: Call<'_>,
    cookie: &str,
    all: bool,
) -> Result<Response<Body>, Rejection> {
    let Call { head, parts, mut inbound, bytes_max } = call;
    let policy = trip.policy.clone();
    let cookies = policy.cookies().ok_or(Rejection::NotFound)?;
    let idle = policy.timeouts.body_idle;
    inbound.buffer(bytes_max, idle).await?;
    may_spend(trip, head, parts, &mut inbound).await?;
    let mut fields = Fields::read(&parts.headers, inbound, bytes_max, idle).await?;
    let place = if fields.is_form() {
        let asked = fields.optional("return_to")?;
        let page = asked.and_then(|asked| own_page(asked.expose(), &policy.own_paths));
        let start =
            || if cookies.login_page { policy.own_paths.path("/login") } else { "/".into() };
        Some(page.unwrap_or_else(start))
    } else {
        None
    };
    let errand = Errand::of(trip, &parts.headers)?;
    let login =
        if may_be_asked(trip, cookie)? { login_behind(&errand, cookie).await? } else { None };
    match login {
        Some(login) => leave(trip, &errand, &login, cookie, all).await?,
        None => {
            note_nobodys(trip, cookie);
            let login = place.and_then(|place| HeaderValue::try_from(place).ok());
            let clear = cookies.clear().into();
            let reason = "session_unknown";
            return Err(Rejection::NoSession(Box::new(NoSession {
                reason,
                cause: None,
                login,
                clear,
            })));
        }
    }
    trip.decide(Decision::Allowed("logout"));
    let response = place.map_or_else(nothing, |place| see_other(&place));
    let mut response = with_cookies(response, cookies.clear());
    response.headers_mut().insert(&CLEAR_SITE_DATA, CACHE);
    Ok(response)
}

/// 303 (RFC 9110 §15.4.4) to a path of our own.
fn see_other(place: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    let place = HeaderValue::try_from(place).unwrap_or(HeaderValue::from_static("/"));
    headers.insert(LOCATION, place);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn with_cookies(
    mut response: Response<Body>,
    lines: impl IntoIterator<Item = HeaderValue>,
) -> Response<Body> {
    for line in lines {
        response.headers_mut().append(SET_COOKIE, line);
    }
    response
}
