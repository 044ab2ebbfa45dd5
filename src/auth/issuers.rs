//! The issuers of one snapshot: which entry and which keys a token may be checked with.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::header::Header;
use super::keys::sha256;
use super::settings::{IssuerSettings, TokenCheck};
use super::{Algorithm, ExtraKey, Family, VerificationKey, Verified, VerifyError};

/// Most keys that are tried for a token without `kid` (R4).
const TRIES_MAX: usize = 4;

/// Largest leeway (R11).
const LEEWAY_MAX: Duration = Duration::from_secs(60);

/// Every issuer entry with its keys; immutable, part of a snapshot.
#[derive(Clone, Default)]
pub struct Issuers {
    pub(super) entries: Vec<Entry>,
    pub(super) extra_keys: Vec<ExtraKey>,
    /// What a cached verification must have rested on to count still.
    facts: HashSet<Fact, foldhash::quality::RandomState>,
    /// Whether any entry's provider is asked about tokens.
    pub(super) introspects: bool,
}

/// A digest of one key of one entry with that entry's settings.
pub(super) type Fact = [u8; 32];

#[derive(Clone)]
pub(super) struct Entry {
    pub(super) settings: Arc<IssuerSettings>,
    /// Of the settings and the extra keys.
    digest: Fact,
    /// What an answer of the provider's rests on, where it is asked about tokens.
    pub(super) introspected: Option<Fact>,
    /// Configured keys first, then fetched ones.
    keys: Vec<(VerificationKey, Fact)>,
}

/// One key to try, and the entry that it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Try<'i> {
    pub(super) settings: &'i IssuerSettings,
    pub(super) key: &'i VerificationKey,
    pub(super) fact: &'i Fact,
}

/// Which issuer entries a route accepts (`issuers` of a route).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IssuerFilter {
    /// Every entry.
    #[default]
    All,
    /// The entries with these names.
    Only(Vec<Box<str>>),
}

/// Settings that contradict themselves or are unsafe. Names the issuer entry.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// HMAC and public-key algorithms in one entry (R3).
    #[error(
        "issuer {0:?}: HMAC and public-key algorithms must not share an entry; make \
         two entries with the same issuer"
    )]
    AlgorithmFamilies(String),
    /// A key with an algorithm that the entry does not list.
    #[error("issuer {0:?}: a key is for {1}, which is not among the entry's algorithms")]
    AlgorithmNotListed(String, Algorithm),
    /// Two keys with the same `kid` in one entry, or in two entries of one issuer with the same
    /// algorithm (R5).
    #[error("issuer {0:?}: the kid {1:?} is used twice")]
    DuplicateKid(String, Box<str>),
    /// Two entries with one name.
    #[error("issuer {0:?}: the name is used twice")]
    DuplicateName(String),
    /// An empty string as `issuer`, or an empty audience list or entry.
    #[error("issuer {0:?}: {1} must not be empty; write \"off\" to do without")]
    Empty(String, &'static str),
    /// Above 60 s.
    #[error("issuer {0:?}: a leeway above 60s is refused")]
    Leeway(String),
    /// No algorithm at all.
    #[error("issuer {0:?}: algorithms is empty; there is no default")]
    NoAlgorithms(String),
}

impl IssuerFilter {
    /// Whether tokens of the entry with this name are accepted. Ask it for cached tokens too.
    #[must_use]
    pub fn allows(&self, entry: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|name| **name == *entry),
        }
    }
}

impl Issuers {
    /// Compiles the entries. `extra_keys` belong to it because a verified token carries the keys
    /// under which it may be revoked.
    ///
    /// # Errors
    ///
    /// Every problem that there is, not only the first.
    pub fn new(
        entries: Vec<IssuerSettings>,
        extra_keys: Vec<ExtraKey>,
    ) -> Result<Self, Vec<SettingsError>> {
        let problems = problems(&entries);
        if !problems.is_empty() {
            return Err(problems);
        }
        let entries: Vec<Entry> =
            entries.into_iter().map(|settings| Entry::new(settings, &extra_keys)).collect();
        Ok(Self::of(entries, extra_keys))
    }

    fn of(entries: Vec<Entry>, extra_keys: Vec<ExtraKey>) -> Self {
        let facts = entries.iter().flat_map(Entry::facts).collect();
        let introspects = entries.iter().any(|entry| entry.introspected.is_some());
        Self { entries, extra_keys, facts, introspects }
    }

    /// The same issuers, with these keys as the fetched ones of the entry of this name; what was
    /// fetched for it before is forgotten, and with it every cached token that rested on it. An
    /// entry that does not fetch ([`TokenCheck::SignatureFetched`]) stays as it is.
    #[must_use]
    pub fn with_fetched(&self, name: &str, fetched: &[VerificationKey]) -> Self {
        let renewed = |entry: &Entry| {
            let fetches = entry.settings.check == TokenCheck::SignatureFetched;
            if fetches && entry.settings.name == name {
                entry.with_fetched(fetched)
            } else {
                entry.clone()
            }
        };
        Self::of(self.entries.iter().map(renewed).collect(), self.extra_keys.clone())
    }

    /// The entries' settings, in order.
    pub fn settings(&self) -> impl Iterator<Item = &IssuerSettings> {
        self.entries.iter().map(|entry| &*entry.settings)
    }

    /// Whether what was verified would be verified again: its entry has the same settings and
    /// still has the key (invariant 1).
    #[must_use]
    pub fn still_holds(&self, verified: &Verified) -> bool {
        self.facts.contains(verified.fact())
    }

    /// Whether the entry that verified it and the key that it was verified with are still there,
    /// whatever else about the entry has changed: for what was let through before and still goes
    /// on.
    #[must_use]
    pub fn still_trust(&self, verified: &Verified) -> bool {
        let same = self.entries.iter().filter(|entry| entry.settings.name == *verified.entry);
        same.into_iter().any(|entry| match verified.key() {
            Some(key) => entry.tries().any(|try_| try_.key.fingerprint() == key),
            None => entry.introspected.is_some(),
        })
    }

    /// The keys with which a token of this issuer and header may be checked; never none.
    pub(super) fn tries(
        &self,
        issuer: Option<&str>,
        header: &Header,
        allowed: &IssuerFilter,
    ) -> Result<Vec<Try<'_>>, VerifyError> {
        let of_issuer = || self.entries.iter().filter(|e| e.settings.issuer.as_deref() == issuer);
        let entries = || of_issuer().filter(|entry| allowed.allows(&entry.settings.name));
        if of_issuer().next().is_none() {
            return Err(VerifyError::UnknownIssuer);
        }
        if entries().next().is_none() {
            return Err(VerifyError::IssuerNotAllowed);
        }
        let algorithm: Algorithm = header.alg.parse().map_err(|_| VerifyError::Algorithm)?;
        if !entries().any(|entry| entry.settings.algorithms.contains(&algorithm)) {
            return Err(VerifyError::Algorithm);
        }
        let named =
            |key: &VerificationKey| header.kid.is_none() || key.kid() == header.kid.as_deref();
        let tries: Vec<Try<'_>> = entries()
            .flat_map(Entry::tries)
            .filter(|try_| try_.key.algorithm() == algorithm && named(try_.key))
            .take(TRIES_MAX)
            .collect();
        if !tries.is_empty() {
            return Ok(tries);
        }
        let other_algorithm =
            header.kid.is_some() && entries().flat_map(Entry::tries).any(|t| named(t.key));
        Err(if other_algorithm { VerifyError::Algorithm } else { VerifyError::UnknownKey })
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.settings()).finish()
    }
}

impl Entry {
    fn new(settings: IssuerSettings, extra_keys: &[ExtraKey]) -> Self {
        let digest = settings.digest(extra_keys);
        let introspects = settings.check == TokenCheck::Introspection;
        let introspected = introspects.then(|| sha256(&[b"introspected", &digest]));
        let keys = Vec::new();
        let entry = Self { settings: Arc::new(settings), digest, introspected, keys };
        // A key beside an introspection endpoint would be a way around it.
        if introspects { entry } else { entry.with_fetched(&[]) }
    }

    /// The configured keys and these.
    fn with_fetched(&self, fetched: &[VerificationKey]) -> Self {
        let with_fact = |key: &VerificationKey| {
            let kid = format!("{:?}", key.kid());
            let fact = sha256(&[b"fact", &self.digest, key.fingerprint(), kid.as_bytes()]);
            (key.clone(), fact)
        };
        let keys = self.settings.keys.iter().chain(fetched).map(with_fact).collect();
        Self { keys, ..self.clone() }
    }

    fn facts(&self) -> impl Iterator<Item = Fact> {
        self.keys.iter().map(|(_, fact)| *fact).chain(self.introspected)
    }

    pub(super) fn tries(&self) -> impl Iterator<Item = Try<'_>> {
        let settings = &*self.settings;
        self.keys.iter().map(move |(key, fact)| Try { settings, key, fact })
    }
}

fn problems(entries: &[IssuerSettings]) -> Vec<SettingsError> {
    let mut found: Vec<SettingsError> = entries.iter().flat_map(problems_of_one).collect();
    let mut names = HashSet::new();
    // A kid must lead to one key: within an entry always, and between entries of one issuer
    // wherever the algorithm does not tell them apart.
    let mut kids = HashSet::new();
    for (place, entry) in entries.iter().enumerate() {
        if !names.insert(entry.name.as_str()) {
            found.push(SettingsError::DuplicateName(entry.name.clone()));
        }
        for key in &entry.keys {
            let Some(kid) = key.kid() else { continue };
            let in_entry = kids.insert((Some(place), None, None, kid));
            let in_issuer =
                kids.insert((None, entry.issuer.as_deref(), Some(key.algorithm()), kid));
            if !in_entry || !in_issuer {
                found.push(SettingsError::DuplicateKid(entry.name.clone(), kid.into()));
            }
        }
    }
    found
}

fn problems_of_one(entry: &IssuerSettings) -> Vec<SettingsError> {
    let name = || entry.name.clone();
    let mut found = Vec::new();
    let hmac = entry.algorithms.iter().filter(|a| a.family() == Family::Hmac).count();
    if entry.algorithms.is_empty() && entry.check != TokenCheck::Introspection {
        found.push(SettingsError::NoAlgorithms(name()));
    } else if hmac != 0 && hmac != entry.algorithms.len() {
        found.push(SettingsError::AlgorithmFamilies(name()));
    }
    for key in entry.keys.iter().filter(|key| !entry.algorithms.contains(&key.algorithm())) {
        found.push(SettingsError::AlgorithmNotListed(name(), key.algorithm()));
    }
    if entry.leeway > LEEWAY_MAX {
        found.push(SettingsError::Leeway(name()));
    }
    if entry.issuer.as_deref() == Some("") {
        found.push(SettingsError::Empty(name(), "issuer"));
    }
    if entry.audiences.as_ref().is_some_and(|a| a.is_empty() || a.iter().any(String::is_empty)) {
        found.push(SettingsError::Empty(name(), "audiences"));
    }
    found
}
