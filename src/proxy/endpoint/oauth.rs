//! How OAuth's own endpoints refuse (RFC 6749 §5.2).

use http::StatusCode;

use super::unavailable;
use crate::proxy::Rejection;
use crate::proxy::reject::OAuthRefusal;

/// What a client is told. Which check failed is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// 403: it is who it says, and may not.
    AccessDenied,
    /// 401: it is not who it says, or has not said it in a way that is accepted.
    InvalidClient,
    /// 400: the refresh token is not good, or not this client's.
    InvalidGrant,
    /// 400: the request cannot be read in one way only.
    InvalidRequest,
    /// 400: more than it may have.
    InvalidScope,
    /// 400: a resource for which it gets no tokens (RFC 8707 §2).
    InvalidTarget,
    /// 400: it may not use this grant.
    UnauthorizedClient,
    /// 400: the token that it wants revoked is not its own (RFC 7009 §2.1).
    UnauthorizedRevocation,
    /// 400: no such grant.
    UnsupportedGrantType,
    /// 400: such tokens cannot be revoked (RFC 7009 §2.2.1).
    UnsupportedTokenType,
}

impl Code {
    /// The refusal; `reason` is for the log, a stable word from a fixed list.
    pub(super) fn because(self, reason: &'static str) -> Rejection {
        let (status, error, description) = self.words();
        Rejection::OAuth(Box::new(OAuthRefusal { status, error, description, reason }))
    }

    const fn words(self) -> (StatusCode, &'static str, &'static str) {
        let bad = StatusCode::BAD_REQUEST;
        match self {
            Self::AccessDenied => {
                (StatusCode::FORBIDDEN, "access_denied", "the client may not do this")
            }
            Self::InvalidClient => {
                (StatusCode::UNAUTHORIZED, "invalid_client", "the client is not accepted")
            }
            Self::InvalidGrant => (bad, "invalid_grant", "the refresh token is not accepted"),
            Self::InvalidRequest => {
                (bad, "invalid_request", "one form, each parameter once, one client authentication")
            }
            Self::InvalidScope => (bad, "invalid_scope", "the client may not have this scope"),
            Self::InvalidTarget => {
                (bad, "invalid_target", "the client may not have tokens for this audience")
            }
            Self::UnauthorizedClient => {
                (bad, "unauthorized_client", "the client may not use this grant")
            }
            Self::UnauthorizedRevocation => {
                (bad, "unauthorized_client", "the client may not revoke this token")
            }
            Self::UnsupportedGrantType => {
                (bad, "unsupported_grant_type", "refresh_token and client_credentials are offered")
            }
            Self::UnsupportedTokenType => {
                (bad, "unsupported_token_type", "such a token cannot be revoked here")
            }
        }
    }
}

/// A refusal of the endpoints beside these, in OAuth's form.
pub(super) fn in_oauth_words(rejection: Rejection) -> Rejection {
    match rejection {
        Rejection::NotAccepted(reason) => Code::InvalidGrant.because(reason),
        Rejection::StoreUnavailable(_) => unavailable("store_unavailable"),
        Rejection::Unavailable(reason) => unavailable(reason),
        other => other,
    }
}
