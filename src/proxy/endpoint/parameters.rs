//! The parameters of a request to one of OAuth's own endpoints (RFC 6749 §3.2, §4.4.2, §6;
//! RFC 7009 §2.1; RFC 7662 §2.1): one form, in the body, in which each stands once.
//!
//! What two readers could read differently is refused: a parameter that is there twice, or anything
//! in the query, where credentials would reach logs (RFC 6749 §2.3.1).

use super::Call;
use super::form::Form;
use super::oauth::Code;
use crate::proxy::{Rejection, Trip};
use crate::secret::Secret;

/// What may be said several times (RFC 8707 §2).
const REPEATED: &str = "resource";

/// The parameters of one request, without those that have no value (RFC 6749 §3.2).
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, Secret<String>)>);

impl Parameters {
    /// Reads the body of a call. Who asks, and what they may, is then for the current policy to
    /// say.
    ///
    /// # Errors
    ///
    /// 400 `invalid_request` for another media type than a form's, a query, or a parameter that is
    /// there twice; 413, 408 or 400 for the body itself.
    pub(super) async fn read(trip: &mut Trip, call: Call<'_>) -> Result<Self, Rejection> {
        let Call { parts, inbound, bytes_max, .. } = call;
        if parts.uri.query().is_some_and(|query| !query.is_empty()) {
            return Err(Code::InvalidRequest.because("client_query"));
        }
        let idle = trip.policy.timeouts.body_idle;
        let form = Form::read(&parts.headers, inbound, bytes_max, idle).await;
        let form = form.map_err(|rejection| match rejection {
            Rejection::UnsupportedMedia => Code::InvalidRequest.because("client_form"),
            other => other,
        })?;
        trip.judge_by_current_policy();
        form.pairs().and_then(Self::of).ok_or_else(|| Code::InvalidRequest.because("client_form"))
    }

    fn of(pairs: Vec<(String, Secret<String>)>) -> Option<Self> {
        let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        names.retain(|name| *name != REPEATED);
        names.sort_unstable();
        if names.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) {
            return None;
        }
        let said = pairs.into_iter().filter(|(_, value)| !value.expose().is_empty());
        Some(Self(said.collect()))
    }

    /// The value of a parameter that stands once.
    pub(super) fn get(&self, name: &'static str) -> Option<&Secret<String>> {
        self.all(name).next()
    }

    /// The same as text that is no secret.
    pub(super) fn text(&self, name: &'static str) -> Option<&str> {
        self.get(name).map(|value| value.expose().as_str())
    }

    /// Every value of a parameter.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &Secret<String>> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
impl Parameters {
    /// As if these had been sent.
    pub(super) fn of_pairs(pairs: &[(&str, &str)]) -> Self {
        tests::of(pairs).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn of(pairs: &[(&str, &str)]) -> Option<Parameters> {
        let owned =
            |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
        Parameters::of(pairs.iter().map(owned).collect())
    }

    /// RFC 6749 §3.2: "Request and response parameters MUST NOT be included more than once."
    #[test]
    fn a_parameter_stands_once() {
        assert!(of(&[("scope", "a"), ("scope", "b")]).is_none());
        assert!(of(&[("scope", "a"), ("x", ""), ("scope", "a")]).is_none());
        assert!(of(&[("client_id", ""), ("client_id", "a")]).is_none(), "an empty one hides none");
        assert!(of(&[("unknown", "a"), ("unknown", "b")]).is_none());
        let read = of(&[("resource", "a"), ("scope", "x"), ("resource", "b")]).unwrap();
        let resources: Vec<&str> = read.all("resource").map(|r| r.expose().as_str()).collect();
        assert_eq!((resources, read.text("scope")), (vec!["a", "b"], Some("x")));
    }

    #[test]
    fn without_a_value_is_without() {
        let read = of(&[("scope", ""), ("Scope", "a")]).unwrap();
        assert_eq!(read.text("scope"), None);
    }
}
