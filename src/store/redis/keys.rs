//! The keys of many tokens, collected so that each key is asked once.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::token::Lookup;

/// What our keys begin with.
#[derive(Debug)]
pub(super) struct Names {
    /// `{prefix}blocklist:`
    pub(super) entry: String,
    /// `{prefix}blocklist:generation`
    pub(super) generation: String,
    /// `{prefix}blocklist:index`
    pub(super) index: String,
    /// `{prefix}blocklist:revoked`, the channel that suffixes of new entries are published on.
    pub(super) revoked: String,
    /// `{prefix}limit:`
    pub(super) limit: String,
    /// `{prefix}refresh:`
    pub(super) family: String,
    /// `{prefix}session:`
    pub(super) session: String,
    /// `{prefix}sessions:`, the list of a subject's families
    pub(super) subject: String,
    /// `{prefix}`
    pub(super) prefix: String,
    /// `{prefix}canary:`
    pub(super) canary: String,
    hasher: foldhash::fast::RandomState,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Arc<Self> {
        let entry = format!("{prefix}blocklist:");
        Arc::new(Self {
            generation: format!("{entry}generation"),
            index: format!("{entry}index"),
            revoked: format!("{entry}revoked"),
            limit: format!("{prefix}limit:"),
            family: format!("{prefix}refresh:"),
            session: format!("{prefix}session:"),
            subject: format!("{prefix}sessions:"),
            prefix: prefix.to_owned(),
            canary: format!("{prefix}canary:"),
            entry,
            hasher: foldhash::fast::RandomState::default(),
        })
    }

    /// The key of a name that counts once.
    pub(super) fn once(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Distinct keys, in the order of their first mention.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    known: HashMap<u64, u32, BuildHasherDefault<AsIs>>,
}

impl KeySet {
    /// The number of the key `head + tail`.
    fn add(&mut self, names: &Names, head: &str, tail: &str) -> u32 {
        let hash = names.hasher.hash_one((head.len(), tail));
        if let Some(&number) = self.known.get(&hash)
            && self.key(number).is_some_and(|key| is_joined(key, head, tail))
        {
            return number;
        }
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(tail.as_bytes());
        self.ends.push(self.bytes.len());
        // Two keys with one hash are both kept; only the later is then recognised again.
        self.known.insert(hash, number);
        number
    }

    pub(super) fn key(&self, number: u32) -> Option<&[u8]> {
        let number = number as usize;
        let start = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(number)?)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..).map_while(|number| self.key(number))
    }
}

fn is_joined(key: &[u8], head: &str, tail: &str) -> bool {
    key.strip_prefix(head.as_bytes()) == Some(tail.as_bytes())
}

/// The keys of every token of a batch.
#[derive(Debug, Default)]
pub(super) struct BatchKeys {
    /// Keys whose existence refuses: undated and extra ones.
    pub(super) plain: KeySet,
    /// Keys whose value decides.
    pub(super) dated: KeySet,
    numbers: Vec<u32>,
    tokens: Vec<TokenSpan>,
}

/// Where one token's key numbers stand in `numbers`.
#[derive(Clone, Copy, Debug)]
struct TokenSpan {
    start: usize,
    undated: usize,
    extra: usize,
    dated: usize,
}

/// One token's key numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenKeys<'a> {
    pub(super) undated: &'a [u32],
    pub(super) extra: &'a [u32],
    pub(super) dated: &'a [u32],
}

impl BatchKeys {
    /// Adds a token; its place in the batch.
    pub(super) fn add(&mut self, names: &Names, lookup: &Lookup) -> usize {
        let start = self.numbers.len();
        let (plain, dated) = (&mut self.plain, &mut self.dated);
        self.numbers.extend(lookup.undated.iter().map(|tail| plain.add(names, &names.entry, tail)));
        self.numbers.extend(lookup.extra.iter().map(|key| plain.add(names, "", key)));
        self.numbers.extend(lookup.dated.iter().map(|tail| dated.add(names, &names.entry, tail)));
        self.tokens.push(TokenSpan {
            start,
            undated: lookup.undated.len(),
            extra: lookup.extra.len(),
            dated: lookup.dated.len(),
        });
        self.tokens.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Each token's keys, in the order of their places.
    pub(super) fn tokens(&self) -> impl Iterator<Item = TokenKeys<'_>> {
        self.tokens.iter().map(|span| {
            let all = self.numbers.get(span.start..).unwrap_or_default();
            let (undated, rest) = all.split_at_checked(span.undated).unwrap_or_default();
            let (extra, rest) = rest.split_at_checked(span.extra).unwrap_or_default();
            let dated = rest.get(..span.dated).unwrap_or_default();
            TokenKeys { undated, extra, dated }
        })
    }
}

/// Keys of the map are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::UnixTime;

    fn lookup(undated: Vec<String>, dated: Vec<String>, extra: Vec<String>) -> Lookup {
        let boxed = |keys: Vec<String>| keys.into_iter().map(Into::into).collect();
        Lookup::new(boxed(undated), boxed(dated), boxed(extra), None, UnixTime(0))
    }

    /// Keys of any shape, few enough that many are shared; some of them look like ours.
    fn keys() -> impl Strategy<Value = Vec<String>> {
        let key = prop_oneof!["[ab:]{0,3}", ".{0,8}", Just("p:blocklist:a".to_owned())];
        prop::collection::vec(key, 0..5)
    }

    proptest! {
        /// Every token gets back exactly its own keys, in its own order, each key asked once (R46).
        #[test]
        fn every_token_keeps_its_keys(
            tokens in prop::collection::vec((keys(), keys(), keys()), 0..20)
        ) {
            let names = Names::new("p:");
            let mut batch = BatchKeys::default();
            for (i, (undated, dated, extra)) in tokens.iter().enumerate() {
                let token = lookup(undated.clone(), dated.clone(), extra.clone());
                prop_assert_eq!(batch.add(&names, &token), i);
            }
            prop_assert_eq!(batch.len(), tokens.len());
            let whole = |set: &KeySet, numbers: &[u32]| -> Vec<Vec<u8>> {
                numbers.iter().map(|number| set.key(*number).unwrap().to_vec()).collect()
            };
            let ours = |keys: &[String]| -> Vec<Vec<u8>> {
                keys.iter().map(|key| format!("p:blocklist:{key}").into_bytes()).collect()
            };
            for (keys, (undated, dated, extra)) in batch.tokens().zip(&tokens) {
                prop_assert_eq!(whole(&batch.plain, keys.undated), ours(undated));
                prop_assert_eq!(whole(&batch.dated, keys.dated), ours(dated));
                let extra: Vec<_> = extra.iter().map(|key| key.clone().into_bytes()).collect();
                prop_assert_eq!(whole(&batch.plain, keys.extra), extra);
            }
            // An extra key that is spelled like one of ours is asked twice, which harms nothing;
            // a dated key must not be, because those are counted.
            let distinct: std::collections::HashSet<_> = batch.dated.iter().collect();
            prop_assert_eq!(distinct.len(), batch.dated.len());
        }
    }
}
