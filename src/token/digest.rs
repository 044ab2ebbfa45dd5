//! A key of the blocklist as 128 bits, so that a local copy need not hold the keys themselves.

/// The first 128 bits of SHA-256 over which kind of key it is and the key. Nobody can find two keys
/// with one digest, so holding a digest is as good as holding the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyDigest {
    /// Never zero: one bit is given up for that.
    pub high: u64,
    /// The other half.
    pub low: u64,
}

impl KeyDigest {
    /// Of an entry of our own, by its suffix (see [`super::Selector::suffix`]).
    #[must_use]
    pub fn of_entry(suffix: &str) -> Self {
        Self::of(b"entry:", suffix)
    }

    /// Of a key that another application writes.
    #[must_use]
    pub fn of_extra(key: &str) -> Self {
        Self::of(b"extra:", key)
    }

    fn of(kind: &[u8], key: &str) -> Self {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(kind);
        context.update(key.as_bytes());
        let digest = context.finish();
        let mut halves = digest
            .as_ref()
            .chunks_exact(8)
            .map(|half| half.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte)));
        let mut half = || halves.next().unwrap_or_default();
        Self { high: half() | 1, low: half() }
    }
}

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_and_a_foreign_key_of_one_name_differ() {
        assert_eq!(KeyDigest::of_entry("jti:i:1"), KeyDigest::of_entry("jti:i:1"));
        assert_ne!(KeyDigest::of_entry("jti:i:1"), KeyDigest::of_entry("jti:i:2"));
        assert_ne!(KeyDigest::of_entry("jti:i:1"), KeyDigest::of_extra("jti:i:1"));
        // printf entry:jti:i:1 | sha256sum, with the last bit of the first half set.
        let digest = format!("{:?}", KeyDigest::of_entry("jti:i:1"));
        assert_eq!(digest, "288ecbef6871b90154e7e4794ed7e7c0");
    }
}
