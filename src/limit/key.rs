//! What is counted together: a 128-bit keyed hash of the parts of a limit's key.
//!
//! The hash keeps memory flat whatever a client sends, keeps account names out of memory, and its
//! random seed keeps a stranger from finding another one's key. Keys that gateways share have no
//! such seed: see [`super::Shared`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::digest;

/// One counted thing. Two equal keys are, for all that can be done about it, the same parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(super) u128);

/// Collects the parts of a key, in order. Each part is framed by its length, so that no two lists
/// of parts read alike.
pub struct KeyBuilder(State);

enum State {
    // SipHash under one random key over two inputs that differ in their first byte: as good as
    // 128 independent bits.
    Own {
        high: <RandomState as BuildHasher>::Hasher,
        low: <RandomState as BuildHasher>::Hasher,
    },
    /// SHA-256, of which the first half is kept: the same on every gateway.
    Shared(Box<digest::Context>),
}

impl KeyBuilder {
    pub(super) fn new(seed: &RandomState) -> Self {
        let (mut high, mut low) = (seed.build_hasher(), seed.build_hasher());
        high.write_u8(1);
        low.write_u8(0);
        Self(State::Own { high, low })
    }

    /// A key that other gateways count under too; goes on where `start` stands.
    pub(super) fn shared(start: &digest::Context) -> Self {
        Self(State::Shared(Box::new(start.clone())))
    }

    /// A part that is there, possibly empty.
    #[must_use]
    pub fn part(mut self, bytes: &[u8]) -> Self {
        match &mut self.0 {
            State::Own { high, low } => {
                for hasher in [high, low] {
                    hasher.write_usize(bytes.len());
                    hasher.write(bytes);
                }
            }
            State::Shared(context) => {
                context.update(&(bytes.len() as u64).to_be_bytes());
                context.update(bytes);
            }
        }
        self
    }

    /// A part that is not there; differs from an empty one.
    #[must_use]
    pub fn absent(mut self) -> Self {
        match &mut self.0 {
            State::Own { high, low } => {
                high.write_usize(usize::MAX);
                low.write_usize(usize::MAX);
            }
            State::Shared(context) => context.update(&u64::MAX.to_be_bytes()),
        }
        self
    }

    /// The client as a part: see [`client_network`].
    #[must_use]
    pub fn client(self, address: IpAddr) -> Self {
        match client_network(address) {
            IpAddr::V4(address) => self.part(&address.octets()),
            IpAddr::V6(address) => self.part(&address.octets()),
        }
    }

    /// The key of these parts.
    #[must_use]
    pub fn finish(self) -> Key {
        match self.0 {
            State::Own { high, low } => {
                Key(u128::from(high.finish()) << 64 | u128::from(low.finish()))
            }
            State::Shared(context) => {
                let hash = context.finish();
                Key(hash.as_ref().first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes)))
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the /64 of an IPv6 address, because whoever has
/// one address of a /64 has them all (R40). An IPv4-mapped address is the IPv4 address.
#[must_use]
pub const fn client_network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources: R40; a mapped address must not give a client a second quota (R27).
    #[test]
    fn clients_are_told_apart_by_their_network() {
        let seed = RandomState::new();
        let key = |text: &str| KeyBuilder::new(&seed).client(text.parse().unwrap()).finish();
        for (a, b, same) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::c000:201", "192.0.2.1", false),
        ] {
            assert_eq!(key(a) == key(b), same, "{a} {b}");
        }
    }

    #[test]
    fn parts_cannot_run_into_each_other() {
        let seed = RandomState::new();
        let start = || KeyBuilder::new(&seed);
        let keys = [
            start().part(b"ab").part(b"c").finish(),
            start().part(b"a").part(b"bc").finish(),
            start().part(b"abc").finish(),
            start().part(b"abc").part(b"").finish(),
            start().part(b"abc").absent().finish(),
            start().absent().part(b"abc").finish(),
        ];
        for (i, a) in keys.iter().enumerate() {
            assert!(keys.iter().skip(i + 1).all(|b| a != b), "{i}");
        }
        assert_eq!(start().part(b"ab").part(b"c").finish(), keys[0]);
    }

    #[test]
    fn another_seed_makes_other_keys_and_both_halves_differ() {
        let key = |seed: &RandomState| KeyBuilder::new(seed).part(b"x").finish();
        let (one, other) = (key(&RandomState::new()), key(&RandomState::new()));
        assert_ne!(one, other);
        assert_ne!((one.0 >> 64) as u64, one.0 as u64);
    }
}
