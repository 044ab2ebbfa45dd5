//! The keys under which one verified token may be on the blocklist, worked out once per token.

use crate::time::UnixTime;

/// Everything the blocklist needs to know of a token. A pure function of the token, its issuer
/// entry and `[revocation] extra_keys`; kept with the verified facts, so that a cached token costs
/// no string work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Suffixes (see [`super::Selector::suffix`]) whose existence alone refuses the token:
    /// jti, sid, issuer, kid, token.
    pub undated: Vec<Box<str>>,
    /// Suffixes whose entry carries `issued_before`: sub, and each client value.
    pub dated: Vec<Box<str>>,
    /// Whole keys, without prefix, that other applications write (`extra_keys`, filled in);
    /// existence refuses, whatever their Redis type.
    pub extra: Vec<Box<str>>,
    /// `iat`; a token without it is refused by any dated entry.
    pub issued_at: Option<UnixTime>,
    /// `exp` plus leeway: when a remembered refusal of this token may be forgotten.
    pub until: UnixTime,
}
