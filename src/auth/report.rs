//! Every check of one token, one by one, for `postern token verify` and `postern explain`. The
//! same code decides here and on the request path; this only remembers how far it came.

use super::{IssuerFilter, Issuers, Verified, VerifyError};
use crate::time::UnixTime;

/// One check and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is checked, in a few words.
    pub name: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It failed, for this reason.
    Failed(VerifyError),
    /// An earlier one failed, so it was not made.
    NotReached,
    /// It passed.
    Passed,
}

/// The checks, in the order in which they are made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Form,
    Issuer,
    Key,
    Expiry,
    Signature,
    Claims,
    Times,
}

impl Step {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Form, "form: three base64url parts, strict JSON, an access token"),
        (Self::Issuer, "issuer: an entry for this iss"),
        (Self::Key, "key: algorithm and kid lead to a configured key"),
        (Self::Expiry, "exp: present, not passed"),
        (Self::Signature, "signature: made by that key"),
        (Self::Claims, "claims: audience, types, required ones, lifetime"),
        (Self::Times, "times: exp, nbf, iat, max_age"),
    ];
}

impl Issuers {
    /// Checks the token step by step. The second value is there when every check passed.
    pub fn report(
        &self,
        token: &str,
        allowed: &IssuerFilter,
        now: UnixTime,
    ) -> (Vec<Check>, Option<Verified>) {
        let result = match self.prepare(token, allowed, now) {
            Err(error) => Err((cheap_step(&error), error)),
            Ok(candidate) => candidate.verify(now).map_err(|error| (dear_step(&error), error)),
        };
        match result {
            Ok(verified) => (checks(None), Some(verified)),
            Err(failure) => (checks(Some(failure)), None),
        }
    }
}

fn checks(failure: Option<(Step, VerifyError)>) -> Vec<Check> {
    let outcome = |step: Step| match &failure {
        None => Outcome::Passed,
        Some((failed, _)) if step < *failed => Outcome::Passed,
        Some((failed, error)) if step == *failed => Outcome::Failed(error.clone()),
        Some(_) => Outcome::NotReached,
    };
    Step::ALL.iter().map(|(step, name)| Check { name, outcome: outcome(*step) }).collect()
}

/// Where [`Issuers::prepare`] stopped.
fn cheap_step(error: &VerifyError) -> Step {
    match error {
        VerifyError::Malformed | VerifyError::TokenType | VerifyError::UnsupportedHeader => {
            Step::Form
        }
        VerifyError::ClaimType("iss")
        | VerifyError::IssuerNotAllowed
        | VerifyError::UnknownIssuer => Step::Issuer,
        VerifyError::Algorithm | VerifyError::UnknownKey => Step::Key,
        VerifyError::Audience
        | VerifyError::ClaimTooLong(_)
        | VerifyError::ClaimType(_)
        | VerifyError::ControlCharacter(_)
        | VerifyError::Expired
        | VerifyError::Inactive
        | VerifyError::IssuedInFuture
        | VerifyError::Lifetime
        | VerifyError::MissingClaim(_)
        | VerifyError::NotYetValid
        | VerifyError::Signature
        | VerifyError::TooOld => Step::Expiry,
    }
}

/// Where [`super::Candidate::verify`] stopped.
fn dear_step(error: &VerifyError) -> Step {
    match error {
        VerifyError::Signature => Step::Signature,
        VerifyError::Expired
        | VerifyError::IssuedInFuture
        | VerifyError::NotYetValid
        | VerifyError::TooOld => Step::Times,
        VerifyError::Algorithm
        | VerifyError::Audience
        | VerifyError::ClaimTooLong(_)
        | VerifyError::ClaimType(_)
        | VerifyError::ControlCharacter(_)
        | VerifyError::Inactive
        | VerifyError::IssuerNotAllowed
        | VerifyError::Lifetime
        | VerifyError::Malformed
        | VerifyError::MissingClaim(_)
        | VerifyError::TokenType
        | VerifyError::UnknownIssuer
        | VerifyError::UnknownKey
        | VerifyError::UnsupportedHeader => Step::Claims,
    }
}
