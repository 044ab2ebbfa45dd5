//! The way of a request, from its head to its answer. [`handle`] is the story; each step is a
//! module of its own.
//!
//! Nothing here forwards a request on an error: every step refuses by returning a [`Rejection`],
//! and [`forward`] is reached by one line at the end (invariant 6).

pub mod authenticate;
pub mod client;
pub mod clients;
pub mod connection;
pub mod csrf;
pub mod endpoint;
mod escort;
mod denial;
pub mod fail_mode;
pub mod forward;
mod grpc;
pub mod guard;
pub mod head;
mod identify;
pub mod identity;
mod introspect;
pub mod limits;
pub mod measure;
pub mod outgoing;
pub mod preflight;
pub mod record;
pub mod reject;
pub mod request_id;
pub mod session;
pub mod target;
pub mod trip;
pub mod tunnel;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;

use self::authenticate::authenticate;
use self::clients::Clients;
use self::connection::Connection;
use self::endpoint::Flood;
use self::forward::{Inbound, Outbound};
use self::head::Head;
use self::identify::identify;
use self::measure::Decision;
pub use self::outgoing::{Ending, Outgoing};
use self::preflight::Preflight;
pub use self::reject::Rejection;
use self::session::Sessions;
use self::trip::Trip;
use crate::auth::TokenCache;
use crate::auth::extract::Origin;
use crate::blocklist::{Blocklist, WorkerBlocklist};
use crate::body::Body;
use crate::issuer::{Assertions, AuthorizationServer};
use crate::observe::access_log::AccessLog;
use crate::observe::audit::Audit;
use crate::observe::metrics::Metrics;
use crate::policy::Route;
use crate::policy::Snapshot;
use crate::policy::own_paths::Standing;
use crate::policy::route::Csrf;
use crate::policy::router::Found;
use crate::provider::Providers;
use crate::stream::{Index, Tally};
use crate::upstream::Pool;

/// One year, this host only; `includeSubDomains` is for the owner of the domain to say.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What all workers share and what survives a reload.
pub struct Gateway {
    /// The compiled configuration; a request takes one snapshot and keeps it to its end.
    pub policy: Arc<ArcSwap<Snapshot>>,
    /// The identity providers: who fetches keys and asks about opaque tokens.
    pub providers: Arc<Providers>,
    /// Facts about verified tokens.
    pub tokens: TokenCache,
    /// Open connections and requests by client.
    pub clients: Arc<Clients>,
    /// One line a request.
    pub access: AccessLog,
    /// The blocklist's process side: what is revoked through an endpoint is written there.
    pub blocklist: Arc<Blocklist>,
    /// What keeps a flood of forged logout tokens within bounds.
    pub logouts: Flood,
    /// Postern as the issuer: logins and accounts.
    pub authorization_server: Arc<AuthorizationServer>,
    /// Tokens made for upstreams.
    pub assertions: Assertions,
    /// What is remembered of browsers' sessions.
    pub sessions: Sessions,
    /// Live streams, as numbers.
    pub streams: Arc<Tally>,
    /// Who was refused, and what was changed.
    pub audit: Audit,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// What one worker thread has for itself.
pub struct Worker {
    /// The shared part.
    pub gateway: Arc<Gateway>,
    /// Idle upstream connections.
    pub pool: Arc<Pool>,
    /// This worker's way to the blocklist.
    pub blocklist: Arc<WorkerBlocklist>,
    /// This worker's live streams.
    pub streams: Arc<Index>,
}

/// One request, from its head to the head of its answer.
pub async fn handle(
    worker: Arc<Worker>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<Outgoing> {
    let (parts, body) = request.into_parts();
    let method = parts.method.clone();
    let mut trip = Trip::begin(worker, connection, &parts);
    let mut response = match take(&mut trip, parts, body).await {
        Ok(response) => response,
        Err(mut rejection) => {
            trip.note_refusal(&rejection);
            if let Some(denial) = denial::event(&trip, &rejection) {
                let (audit, of_client) = (trip.worker.gateway.audit.clone(), rejection.of_client());
                // Boxed: requests that are let on carry none of it.
                let written = Box::pin(denial::write_down(audit, denial, of_client)).await;
                if let Err(unwritten) = written {
                    rejection = unwritten;
                    trip.note_refusal(&rejection);
                }
            }
            rejection.answer(&method, trip.request_id.to_str().unwrap_or_default())
        }
    };
    let headers = response.headers_mut();
    headers.insert(request_id::FIELD, trip.request_id.clone());
    if trip.connection.tls.is_some() {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
    }
    trip.finish(response)
}

/// The steps, in order; the first refusal wins.
async fn take(
    trip: &mut Trip,
    mut parts: Parts,
    body: Incoming,
) -> Result<Response<Body>, Rejection> {
    let head = Head::read(&mut parts, trip)?;
    trip.count_request()?;
    let preflight = Preflight::of(&parts, &body);
    let hop = guard::guard(&mut parts.headers, &trip.policy.reserved);
    match trip.policy.own_paths.standing(parts.uri.path()) {
        Standing::Other => {}
        // On other hosts it is an upstream's, which may be an authorization server too.
        Standing::WellKnown if !trip.policy.own_paths.is_served_on(&head.host()) => {}
        // Boxed: the way of every other request stays as small as it was.
        Standing::Below | Standing::WellKnown => {
            return Box::pin(endpoint::answer(trip, &head, &parts, body)).await;
        }
        Standing::Misspelt => return Err(Rejection::BadRequest("case_variant_of_another_route")),
    }
    let route = find(trip, &head, &parts, preflight.as_ref())?;
    let upgrade = route.websocket && tunnel::is_asked_for(&parts, &hop);
    let mut inbound = Inbound::new(body, &parts.headers, route.body_bytes)?;
    let tally = limits::early(trip, &route, &parts, &mut inbound).await?;
    let caller = if preflight.is_some() && route.forward_preflight {
        trip.decide(Decision::Allowed("preflight"));
        None
    } else {
        let caller = authenticate(trip, &route, &parts).await;
        caller.map_err(|refusal| session::refuse(trip, &head, &parts, &route, refusal))?
    };
    let tally = limits::late(trip, &route, &parts, &inbound, caller.as_ref(), tally).await?;
    if let Some(caller) = &caller {
        match caller.origin {
            Origin::Header | Origin::Query => {}
            Origin::Cookie => own_origin(trip, &head, &parts, &route, upgrade)?,
            Origin::Session => {
                // Boxed: the way of every other request stays as small as it was.
                Box::pin(session::may_spend(trip, &head, &parts, &route, (upgrade, &mut inbound)))
                    .await?;
            }
        }
        caller.detach(&mut parts, &route)?;
        identify(trip, &route, caller, &mut parts.headers)?;
    }
    if let Some(own) = trip.policy.cookies() {
        session::cookies::withhold(&mut parts.headers, own);
    }
    let is_session = caller.is_some_and(|caller| caller.origin == Origin::Session);
    let outbound = Outbound { parts, head: &head, hop, upgrade };
    let mut answer = forward::forward(trip, &route, outbound, inbound).await;
    if let (Some(own), Ok(answer)) = (trip.policy.cookies(), &mut answer) {
        session::cookies::keep_own(answer.headers_mut(), own);
        if is_session {
            session::cookies::keep_private(answer.headers_mut());
        }
    }
    tally.settle(answer).await
}

/// An application's own cookie is spent by its own pages alone.
fn own_origin(
    trip: &Trip,
    head: &Head,
    parts: &Parts,
    route: &Route,
    upgrade: bool,
) -> Result<(), Rejection> {
    if route.csrf == Csrf::Off {
        return Ok(());
    }
    let public = head.origin(&trip.policy).ok_or(Rejection::Csrf("csrf"))?;
    csrf::check(&parts.method, upgrade, &parts.headers, &public)
        .map_err(|_| Rejection::Csrf("csrf"))
}

fn find(
    trip: &mut Trip,
    head: &Head,
    parts: &Parts,
    preflight: Option<&Preflight>,
) -> Result<Arc<Route>, Rejection> {
    let policy = &trip.policy;
    let (host, path) = (head.host(), parts.uri.path());
    let mut found = policy.router.find(&host, path, &parts.method);
    let mut method = &parts.method;
    // A route for GET alone still answers the browser's question whether it may GET.
    if let (Found::MethodNotAllowed(_), Some(preflight)) = (&found, preflight)
        && let Found::Route(index) = policy.router.find(&host, path, &preflight.method)
        && policy.routes.get(index).is_some_and(|route| route.forward_preflight)
    {
        found = Found::Route(index);
        method = &preflight.method;
    }
    if policy.reads_twice(&host, path, method, &found) {
        return Err(Rejection::BadRequest("case_variant_of_another_route"));
    }
    let route = match found {
        Found::Route(index) => policy.routes.get(index).cloned().ok_or(Rejection::NotFound)?,
        Found::MethodNotAllowed(allow) => return Err(Rejection::MethodNotAllowed(allow.into())),
        Found::Nothing => return Err(Rejection::NotFound),
    };
    trip.measure(|measure| measure.route = Some(route.clone()));
    Ok(route)
}
