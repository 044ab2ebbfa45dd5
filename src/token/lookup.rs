//! The keys under which one verified token may be on the blocklist, worked out once per token.

use std::sync::OnceLock;

use super::KeyDigest;
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
    /// Made when a local copy is first asked.
    digests: Digests,
}

impl Lookup {
    /// See the fields.
    #[must_use]
    pub const fn new(
        undated: Vec<Box<str>>,
        dated: Vec<Box<str>>,
        extra: Vec<Box<str>>,
        issued_at: Option<UnixTime>,
        until: UnixTime,
    ) -> Self {
        Self { undated, dated, extra, issued_at, until, digests: Digests(OnceLock::new()) }
    }

    /// The digests of all keys, in the order `undated`, `dated`, `extra`; computed once.
    #[must_use]
    pub fn digests(&self) -> &[KeyDigest] {
        self.digests.0.get_or_init(|| {
            let ours = self.undated.iter().chain(&self.dated);
            let ours = ours.map(|suffix| KeyDigest::of_entry(suffix));
            ours.chain(self.extra.iter().map(|key| KeyDigest::of_extra(key))).collect()
        })
    }
}

/// Says nothing that the keys do not say: a copy starts without, and all are equal.
#[derive(Debug)]
struct Digests(OnceLock<Box<[KeyDigest]>>);

impl Clone for Digests {
    /// The fields of a clone may be changed.
    fn clone(&self) -> Self {
        Self(OnceLock::new())
    }
}

impl PartialEq for Digests {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Digests {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_stand_in_the_order_of_the_keys() {
        let keys = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        let lookup = Lookup::new(keys(&["a", "b"]), keys(&["c"]), keys(&["d"]), None, UnixTime(0));
        let of_entry = ["a", "b", "c"].map(KeyDigest::of_entry);
        assert_eq!(lookup.digests(), [&of_entry[..], &[KeyDigest::of_extra("d")]].concat());
        let mut other = lookup.clone();
        other.undated.clear();
        assert_eq!(other.digests().len(), 2, "not those of the lookup it was made from");
    }
}
