//! One request on its way: by whose rules, for whom, and what must last until its answer's end.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};

use super::connection::Connection;
use super::measure::{Decision, Measure};
use super::outgoing::{Ending, Outgoing};
use super::record::Record;
use super::{Rejection, Worker, client, request_id};
use crate::auth::Verified;
use crate::body::Body;
use crate::limit::client_network;
use crate::observe::metrics::RouteSeries;
use crate::policy::Snapshot;
use crate::stream::{Kind, Life, Pass};

/// One request.
pub struct Trip {
    /// The worker that answers it.
    pub worker: Arc<Worker>,
    /// The connection it came on.
    pub connection: Arc<Connection>,
    /// The snapshot it is judged by.
    pub policy: Arc<Snapshot>,
    /// Whether the peer is believed when it speaks of others.
    pub peer_trusted: bool,
    /// The client's address.
    pub client: IpAddr,
    /// Its id, for the client, the upstream and the log.
    pub request_id: HeaderValue,
    /// What the client calls itself, where there is an audit log.
    pub user_agent: Option<HeaderValue>,
    /// What lasts until the answer's last byte; taken by whoever sends that.
    pub ending: Option<Ending>,
    /// That a token was accepted: what goes on then ends with it.
    pub pass: Option<Pass>,
}

impl Trip {
    /// A request whose head has just been read.
    #[must_use]
    pub fn begin(worker: Arc<Worker>, connection: Arc<Connection>, parts: &Parts) -> Self {
        let policy = worker.gateway.policy.load_full();
        let peer = connection.peer;
        let peer_trusted = peer.is_trusted(&policy.trusted);
        let client = if peer_trusted {
            client::address(peer, &policy.trusted, &parts.headers)
        } else {
            peer.address()
        };
        let request_id = request_id::of(&parts.headers, peer_trusted);
        let gateway = worker.gateway.clone();
        let audited = gateway.audit.is_on();
        let user_agent = if audited { parts.headers.get(USER_AGENT).cloned() } else { None };
        let record = gateway.access.is_on().then(|| {
            let mut record = Box::new(Record::new(parts, client));
            record.request_id = Some(request_id.clone());
            record
        });
        let running = connection.activity.request();
        let measure = Measure::begin();
        let (permit, complete, life) = (None, false, None);
        let ending = Some(Ending { running, permit, measure, record, gateway, complete, life });
        let pass = None;
        Self {
            worker,
            connection,
            policy,
            peer_trusted,
            client,
            request_id,
            user_agent,
            ending,
            pass,
        }
    }

    /// Judges by what holds now from here on: a body has been read, which took as long as its
    /// sender liked, and whoever was taken out of the configuration meanwhile is out.
    pub fn judge_by_current_policy(&mut self) {
        self.policy = self.worker.gateway.policy.load_full();
    }

    /// Counts the request against its client's limit.
    ///
    /// # Errors
    ///
    /// [`Rejection::TooManyRequests`].
    pub fn count_request(&mut self) -> Result<(), Rejection> {
        let max = self.policy.limits.requests_per_client;
        let permit = if self.client == self.connection.peer.address() {
            self.connection.permit.request(max)
        } else {
            self.worker.gateway.clients.request(client_network(self.client), max)
        };
        let permit = permit.ok_or(Rejection::TooManyRequests)?;
        if let Some(ending) = &mut self.ending {
            ending.permit = Some(permit);
        }
        Ok(())
    }

    /// Notes something for the access log, if there is one.
    pub fn note(&mut self, write: impl FnOnce(&mut Record)) {
        if let Some(record) = self.ending.as_mut().and_then(|ending| ending.record.as_mut()) {
            write(record);
        }
    }

    /// Notes what becomes of the request, as far as it is decided.
    pub fn decide(&mut self, decision: Decision) {
        self.measure(|measure| measure.decision = decision);
    }

    /// Notes whose token it is, for those who write it down.
    pub fn note_caller(&mut self, caller: &Arc<Verified>) {
        let gateway = &self.worker.gateway;
        if gateway.access.is_on() || gateway.audit.is_on() {
            self.measure(|measure| measure.caller = Some(caller.clone()));
        }
    }

    /// Notes something for the metrics and the log.
    pub fn measure(&mut self, write: impl FnOnce(&mut Measure)) {
        if let Some(ending) = &mut self.ending {
            write(&mut ending.measure);
        }
    }

    /// Where the request is counted.
    #[must_use]
    pub fn series(&self) -> &RouteSeries {
        let metrics = &self.worker.gateway.metrics;
        let measure = self.ending.as_ref().map(|ending| &ending.measure);
        measure.map_or(&metrics.unrouted, |measure| measure.series(metrics))
    }

    /// Notes why the request was refused: in its access-log line or, without an access log, in the
    /// application log. A refusal never goes unrecorded (ASVS 16.3).
    pub fn note_refusal(&mut self, rejection: &Rejection) {
        if !self.worker.gateway.access.is_on() {
            tracing::info!(
                client = %self.client,
                request_id = self.request_id.to_str().unwrap_or_default(),
                status = rejection.status().as_u16(),
                reason = rejection.reason(),
                "refused"
            );
        }
        self.decide(Decision::Refused(rejection.reason()));
    }

    /// The client's address as a field value.
    #[must_use]
    pub fn client_value(&self) -> HeaderValue {
        if self.client == self.connection.peer.address() {
            return self.connection.peer_value.clone();
        }
        HeaderValue::try_from(self.client.to_string())
            .unwrap_or_else(|_| self.connection.peer_value.clone())
    }

    /// The decision is final, and the answer has this status.
    pub fn answers(&mut self, status: StatusCode) {
        if let Some(ending) = &mut self.ending {
            ending.measure.status = status;
            ending.measure.decide(&ending.gateway.metrics);
        }
    }

    /// The answer with everything that ends with it. A tunnel has taken the ending with it.
    #[must_use]
    pub fn finish(mut self, response: Response<Body>) -> Response<Outgoing> {
        self.answers(response.status());
        match self.ending.take() {
            Some(mut ending) => {
                if matches!(response.body(), Body::Stream(_)) {
                    ending.life = self.life(Kind::of(response.headers()));
                }
                response.map(|body| Outgoing::new(body, ending))
            }
            None => response.map(Outgoing::plain),
        }
    }

    /// The life of something that goes on by this request's token; `None` without one.
    #[must_use]
    pub fn life(&mut self, kind: Kind) -> Option<Life> {
        let pass = self.pass.take()?;
        Some(Life::new(self.worker.streams.clone(), pass, kind))
    }
}
