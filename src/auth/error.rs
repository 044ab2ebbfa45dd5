//! Why a token was refused. The client never learns which; the log line does.

use thiserror::Error;

/// A token that is not accepted. Carries names of claims at most, never their values.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// `alg` is none, unknown, or not the one of the key that was chosen (R1, R2).
    #[error("the algorithm is not the one of the key")]
    Algorithm,
    /// `aud` names none of ours, or names somebody where the entry has none (R12).
    #[error("the audience is not ours")]
    Audience,
    /// A claim that names the token in the blocklist is over 1 KiB.
    #[error("the claim {0} is over 1 KiB")]
    ClaimTooLong(&'static str),
    /// A claim is there, but not with the JSON type that it must have (invariant 3).
    #[error("the claim {0} has the wrong type")]
    ClaimType(&'static str),
    /// A control character in a claim that becomes part of a header, key or log line (R25).
    #[error("the claim {0} contains a control character")]
    ControlCharacter(&'static str),
    /// At or after `exp` plus leeway.
    #[error("expired")]
    Expired,
    /// The provider was asked and says that the token is not active (RFC 7662 §2.2): unknown,
    /// expired or revoked there, it does not say which.
    #[error("the provider says that it is not active")]
    Inactive,
    /// `iat` lies further ahead than the leeway.
    #[error("issued in the future")]
    IssuedInFuture,
    /// The issuer is known, but this route does not take its tokens.
    #[error("the route does not accept this issuer")]
    IssuerNotAllowed,
    /// `exp - iat` exceeds `max_lifetime`, or is negative.
    #[error("made to live longer than max_lifetime")]
    Lifetime,
    /// Not a compact JWS with a JSON object inside, in the strict sense of R6 and R7.
    #[error("not a well-formed JWT")]
    Malformed,
    /// A required claim is absent.
    #[error("the claim {0} is missing")]
    MissingClaim(Box<str>),
    /// Before `nbf` minus leeway.
    #[error("not yet valid")]
    NotYetValid,
    /// No tried key made this signature.
    #[error("the signature does not verify")]
    Signature,
    /// An ID token, a logout token or another type that is no access token (invariant 2, R13).
    #[error("not an access token")]
    TokenType,
    /// Older than `max_age`.
    #[error("older than max_age")]
    TooOld,
    /// No issuer entry for this `iss`.
    #[error("unknown issuer")]
    UnknownIssuer,
    /// No key with this `kid` (and algorithm) in the issuer's entry.
    #[error("unknown key")]
    UnknownKey,
    /// `crit`, `b64`, `zip` or `enc` in the header: extensions that are not implemented (R8).
    #[error("the header uses an extension that is not implemented")]
    UnsupportedHeader,
}

impl VerifyError {
    /// A stable word for logs and metrics; from this fixed list only.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Algorithm => "algorithm",
            Self::Audience => "audience",
            Self::ClaimTooLong(_) => "claim_too_long",
            Self::ClaimType(_) => "claim_type",
            Self::ControlCharacter(_) => "control_character",
            Self::Expired => "expired",
            Self::Inactive => "inactive",
            Self::IssuedInFuture => "issued_in_future",
            Self::IssuerNotAllowed => "issuer_not_allowed",
            Self::Lifetime => "lifetime",
            Self::Malformed => "malformed",
            Self::MissingClaim(_) => "missing_claim",
            Self::NotYetValid => "not_yet_valid",
            Self::Signature => "signature",
            Self::TokenType => "token_type",
            Self::TooOld => "too_old",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::UnsupportedHeader => "unsupported_header",
        }
    }

    /// Whether `[auth_failures]` counts it: malformed, unknown key or issuer, wrong algorithm, bad
    /// signature. What an honest client meets (expired, wrong audience, ...) is not counted; a
    /// token that the provider calls inactive is, for nothing tells an expired one from a guess,
    /// and each guess is a question to the provider.
    #[must_use]
    pub const fn counts_as_failure(&self) -> bool {
        match self {
            Self::Algorithm
            | Self::Inactive
            | Self::Malformed
            | Self::Signature
            | Self::UnknownIssuer
            | Self::UnknownKey
            | Self::UnsupportedHeader => true,
            Self::Audience
            | Self::ClaimTooLong(_)
            | Self::ClaimType(_)
            | Self::ControlCharacter(_)
            | Self::Expired
            | Self::IssuedInFuture
            | Self::IssuerNotAllowed
            | Self::Lifetime
            | Self::MissingClaim(_)
            | Self::NotYetValid
            | Self::TokenType
            | Self::TooOld => false,
        }
    }
}
