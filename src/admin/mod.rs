//! The operators' listener: health for everybody, everything else behind the admin secret.
//!
//! It never serves an upstream's content and never answers a question about a token or a key.

mod authorise;
mod health;
mod metrics;
mod revocations;
mod sessions;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::authorise::Refusal;
use crate::blocklist::Blocklist;
use crate::observe::audit::{Event, Kind, Outcome};
use crate::proxy::Gateway;
use crate::secret::Secret;

/// The largest body of a change.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Who changes things through this listener: whoever has its secret.
const ACTOR: &str = "admin";

/// Waiting time named when something cannot be asked or written.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Open connections of one listener; more are closed at once.
const CONNECTIONS_MAX: usize = 256;

/// What the admin listener asks of the process.
pub enum Command {
    /// Reload the configuration.
    Reload(ReloadAnswer),
    /// Stop accepting and end.
    Drain,
}

/// Where the answer to a reload goes: what does not work although the configuration is in force,
/// or every problem for which it is not, as text.
pub type ReloadAnswer = oneshot::Sender<Result<Vec<String>, String>>;

/// Everything that the admin listener knows.
pub struct Admin {
    /// The gateway that it is about.
    pub gateway: Arc<Gateway>,
    /// Its blocklist.
    pub blocklist: Arc<Blocklist>,
    /// Who knows it may change things.
    pub secret: Secret<String>,
    /// The way to the process.
    pub commands: mpsc::Sender<Command>,
    /// Whether the process has begun to end.
    pub draining: Arc<AtomicBool>,
    /// When the process began.
    pub started: Instant,
}

/// Which part of it a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// `/livez` and `/readyz` alone.
    Health,
}

type Answer = Response<Full<Bytes>>;

/// Serves until the task is dropped.
pub async fn serve(admin: Arc<Admin>, listener: TcpListener, part: Part) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Nobody needs a secret to connect: a flood must not take the workers' descriptors.
        let Ok(slot) = slots.clone().try_acquire_owned() else { continue };
        let admin = admin.clone();
        drop(tokio::spawn(async move {
            let service = service_fn(move |request| {
                let admin = admin.clone();
                async move { Ok::<_, Infallible>(answer(&admin, request, peer.ip(), part).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
            drop(slot);
        }));
    }
}

async fn answer(admin: &Admin, request: Request<Incoming>, peer: IpAddr, part: Part) -> Answer {
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET | &Method::HEAD, "/livez") => return health::live(),
        (&Method::GET | &Method::HEAD, "/readyz") => {
            return health::ready(admin, request.uri().query(), part);
        }
        _ if part == Part::Health => return problem(StatusCode::NOT_FOUND, "Not Found"),
        (&Method::GET | &Method::HEAD, "/metrics") => return metrics::scrape(admin),
        (_, "/livez" | "/readyz" | "/metrics") => return only_get(),
        _ => {}
    }
    if let Err(refusal) = authorise::check(admin, &request) {
        return refused(&refusal);
    }
    match (request.method(), path.as_str()) {
        (&Method::GET, "/status") => json(StatusCode::OK, &health::status(admin)),
        (&Method::POST, "/reload") => reload(admin).await,
        (&Method::POST, "/drain") => {
            drop(admin.commands.send(Command::Drain).await);
            json(StatusCode::ACCEPTED, &serde_json::json!({ "draining": true }))
        }
        (&Method::POST, "/revocations") => revocations::create(admin, request, peer).await,
        (&Method::GET, "/revocations") => {
            revocations::list(admin, request.uri().query().unwrap_or_default()).await
        }
        (&Method::POST, "/revocations/ack") => {
            revocations::acknowledge(admin, by(Kind::Acknowledgement, &request, peer)).await
        }
        (&Method::DELETE, path) if path.starts_with("/revocations/") => {
            let event = by(Kind::Lift, &request, peer);
            revocations::remove(admin, path.trim_start_matches("/revocations/"), event).await
        }
        (&Method::GET, "/sessions") => {
            sessions::list(admin, request.uri().query().unwrap_or_default()).await
        }
        (&Method::DELETE, path) if path.starts_with("/sessions/") => {
            let event = by(Kind::Logout, &request, peer);
            sessions::end(admin, path.trim_start_matches("/sessions/"), event).await
        }
        (_, "/status" | "/reload" | "/drain" | "/revocations" | "/sessions") => {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        }
        _ => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

fn only_get() -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// A change that is asked for here, as the audit log has it.
fn by(kind: Kind, request: &Request<Incoming>, peer: IpAddr) -> Event {
    let event = Event::new(kind, Outcome::Asked).actor(ACTOR).address(peer.to_canonical());
    match request.headers().get(USER_AGENT) {
        Some(value) => event.user_agent(&String::from_utf8_lossy(value.as_bytes())),
        None => event,
    }
}

async fn reload(admin: &Admin) -> Answer {
    let (tell, told) = oneshot::channel();
    let sent = admin.commands.send(Command::Reload(tell)).await;
    match (sent, told.await) {
        (Ok(()), Ok(Ok(warnings))) => {
            let answer = serde_json::json!({ "reloaded": true, "warnings": warnings });
            json(StatusCode::OK, &answer)
        }
        (Ok(()), Ok(Err(problems))) => problem(StatusCode::UNPROCESSABLE_ENTITY, &problems),
        _ => problem(StatusCode::SERVICE_UNAVAILABLE, "the gateway is ending"),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let mut answer = problem(refusal.status, refusal.detail);
    if refusal.status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer");
        answer.headers_mut().insert(http::header::WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// The body of a change, as JSON.
async fn body<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Answer> {
    let limited = Limited::new(request.into_body(), BODY_BYTES_MAX);
    let bytes = limited
        .collect()
        .await
        .map_err(|_| problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broke off"))?
        .to_bytes();
    serde_json::from_slice(&bytes)
        .map_err(|error| problem(StatusCode::BAD_REQUEST, &error.to_string()))
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    response(status, "application/json", bytes)
}

/// RFC 9457, with a detail: the reader is an operator.
fn problem(status: StatusCode, detail: &str) -> Answer {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    let bytes = serde_json::to_vec(&document).unwrap_or_default();
    response(status, "application/problem+json", bytes)
}

/// Every answer; a 503 says when to come back.
fn response(status: StatusCode, kind: &'static str, bytes: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(bytes)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, TRY_AGAIN.as_secs().into());
    }
    answer
}

impl Admin {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}
