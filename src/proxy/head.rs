//! Reading the request head in one way only: sizes, target, host, path.

use std::borrow::Cow;

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};

use super::{Rejection, Trip, client};
use crate::policy::canonical::{Ambiguous, canonical};
use crate::policy::RequestLimits;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the pipeline needs of the head after the guard has been over it.
#[derive(Debug)]
pub struct Head {
    /// The host that the request is for, with its port; absent only in HTTP/1.0.
    pub authority: Option<Authority>,
    /// The scheme that the client used, as far as can be told.
    pub scheme: HeaderValue,
    /// What a trusted proxy said of the hops before it.
    pub forwarded_for: Option<String>,
    forwarded_host: Option<HeaderValue>,
}

impl Head {
    /// Checks the head and leaves the canonical target in `parts.uri`, in origin form.
    ///
    /// # Errors
    ///
    /// 400, 414, 421 or 431.
    pub fn read(parts: &mut Parts, trip: &mut Trip) -> Result<Self, Rejection> {
        check_sizes(parts, &trip.policy.limits)?;
        let target = super::target::target(&parts.method, &parts.uri, parts.version)
            .map_err(Rejection::BadRequest)?;
        let authority = authority(target.authority, &parts.headers, parts.version)?;
        if let (Some(tls), Some(authority)) = (&trip.connection.tls, &authority)
            && parts.version == Version::HTTP_2
            && !tls.covers(authority.host())
        {
            return Err(Rejection::Misdirected);
        }
        canonicalise(parts)?;
        let peer = trip.connection.peer;
        let trusted = trip.policy.trusted.trusts(peer);
        let headers = &parts.headers;
        trip.client = client::address(peer, headers, &trip.policy.trusted);
        trip.note(|record| record.client = trip_client);
        Ok(Self {
            authority,
            scheme: scheme(trip, headers, trusted),
            forwarded_for: trusted.then(|| client::chain(headers)).flatten(),
            forwarded_host: trusted.then(|| headers.get(FORWARDED_HOST).cloned()).flatten(),
        })
    }
}
