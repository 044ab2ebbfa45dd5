//! Keep-alive connections to one endpoint, for questions that are asked often.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::{Handle, Id};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::connection::{Connection, receive};
use super::{Answer, Cause, ExchangeError, place, request, wiped};
use crate::policy::provider::Reach;
use crate::secret::Secret;

/// Exchanges that go on at once; more wait.
const EXCHANGES_MAX: usize = 64;
/// Idle connections that are kept.
const IDLE_MAX: usize = 32;
/// How long they are kept, unless the server says less (`Keep-Alive: timeout=`).
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// How much sooner than the server a connection is given up, so that no request meets its end.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// Keep-alive connections to one endpoint, shared by all who ask it; callable from any runtime.
///
/// A connection is driven by the runtime that opened it, and callers prefer their own runtime's.
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    url: Url,
    reach: Reach,
    turns: Semaphore,
    idle: Mutex<IdleConnections>,
}

#[derive(Default)]
struct IdleConnections {
    /// The most recently used last.
    list: Vec<Idle>,
    /// Whether a task looks after the list.
    swept: bool,
}

struct Idle {
    connection: Connection,
    until: Instant,
    runtime: Id,
}

impl Client {
    /// Connects to nothing yet.
    #[must_use]
    pub fn new(url: Url, reach: Reach) -> Self {
        let (turns, idle) = (Semaphore::new(EXCHANGES_MAX), Mutex::default());
        Self { shared: Arc::new(Shared { url, reach, turns, idle }) }
    }

    /// Posts a form (`application/x-www-form-urlencoded`). `authorization` is the whole value of
    /// that field. Sent once more, on a new connection, when a kept one turns out to be dead: so
    /// only for questions that may be asked twice. No redirect is followed.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`]; also for every status other than 200, and when too many ask at once.
    pub async fn post_form(
        &self,
        authorization: Option<&Secret<String>>,
        form: &Secret<String>,
        bytes_max: usize,
    ) -> Result<Answer, ExchangeError> {
        let shared = &self.shared;
        let timeout = shared.reach.timeout;
        let deadline = Instant::now() + timeout;
        let failed = |cause| ExchangeError { at: place(&shared.url), cause };
        let turn = timeout_at(deadline, shared.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(failed(Cause::Busy(timeout))) };
        let form = Form { authorization, content: wiped(form) };
        timeout_at(deadline, shared.ask(&form, bytes_max, deadline))
            .await
            .unwrap_or(Err(Cause::Timeout(timeout)))
            .map_err(failed)
    }

    /// How many connections are idle.
    #[cfg(test)]
    fn idle_connections(&self) -> usize {
        self.shared.idle().list.len()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("url", &self.shared.url.as_str()).finish_non_exhaustive()
    }
}

/// What is posted.
struct Form<'f> {
    authorization: Option<&'f Secret<String>>,
    content: Bytes,
}

impl Form<'_> {
    fn request(&self, url: &Url) -> Result<Request<Full<Bytes>>, Cause> {
        let mut request = request(Method::POST, url, self.content.clone())?;
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(credentials) = self.authorization {
            let mut value =
                HeaderValue::from_str(credentials.expose()).map_err(|_| Cause::Authorization)?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl Shared {
    async fn ask(
        self: &Arc<Self>,
        form: &Form<'_>,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<Answer, Cause> {
        if let Some(mut connection) = self.take() {
            match connection.send(form.request(&self.url)?).await {
                Ok(response) => return self.finish(connection, response, bytes_max).await,
                // It speaks, but not HTTP: a new connection would not help.
                Err(error) if error.is_parse() => return Err(Cause::Incomplete(error)),
                // It died while it was idle, or just now before it answered.
                Err(_) => {}
            }
        }
        let request = form.request(&self.url)?;
        let mut connection = Connection::open(&self.url, &self.reach, deadline).await?;
        let response = connection.send(request).await.map_err(Cause::Incomplete)?;
        self.finish(connection, response, bytes_max).await
    }

    async fn finish(
        self: &Arc<Self>,
        connection: Connection,
        response: http::Response<Incoming>,
        bytes_max: usize,
    ) -> Result<Answer, Cause> {
        let time = idle_time(response.headers());
        // A connection whose response was not read to its end is dropped with its error.
        let answer = receive(response, &self.url, bytes_max).await?;
        self.put(connection, time);
        Ok(answer)
    }

    fn idle(&self) -> MutexGuard<'_, IdleConnections> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most recently used connection of this runtime, else of any.
    fn take(&self) -> Option<Connection> {
        let here = Handle::current().id();
        let mut idle = self.idle();
        idle.drop_stale();
        let own = idle.list.iter().rposition(|entry| entry.runtime == here);
        let place = own.or_else(|| idle.list.len().checked_sub(1))?;
        Some(idle.list.remove(place).connection)
    }

    fn put(self: &Arc<Self>, connection: Connection, time: Duration) {
        if time.is_zero() || connection.is_closed() {
            return;
        }
        let entry =
            Idle { connection, until: Instant::now() + time, runtime: Handle::current().id() };
        let mut idle = self.idle();
        if idle.list.len() >= IDLE_MAX {
            return;
        }
        idle.list.push(entry);
        if !std::mem::replace(&mut idle.swept, true) {
            drop(tokio::spawn(sweep(Sweeping(Arc::downgrade(self)))));
        }
    }
}

impl IdleConnections {
    fn drop_stale(&mut self) {
        let now = Instant::now();
        self.list.retain(|entry| entry.until > now && !entry.connection.is_closed());
    }
}

/// How long a connection may be idle, by the server's word and ours.
fn idle_time(headers: &HeaderMap) -> Duration {
    let word = headers.get("keep-alive").and_then(|value| value.to_str().ok());
    let seconds = word.and_then(|word| {
        let mut parameters = word.split(',').map(str::trim);
        parameters.find_map(|parameter| parameter.strip_prefix("timeout=")?.parse().ok())
    });
    let server = seconds.map_or(Duration::MAX, Duration::from_secs);
    server.saturating_sub(IDLE_MARGIN).min(IDLE_TIME_MAX)
}

/// The right to look after the list, given back also when the task's runtime ends before it.
struct Sweeping(Weak<Shared>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.idle().swept = false;
        }
    }
}

/// Closes connections that were idle for long enough, until there is none.
async fn sweep(mut sweeping: Sweeping) {
    loop {
        tokio::time::sleep(IDLE_MARGIN).await;
        let Some(shared) = sweeping.0.upgrade() else { return };
        let mut idle = shared.idle();
        idle.drop_stale();
        if idle.list.is_empty() {
            idle.swept = false;
            sweeping.0 = Weak::new();
            return;
        }
    }
}

#[cfg(test)]
mod tests;
