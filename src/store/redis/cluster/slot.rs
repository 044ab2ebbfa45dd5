//! Which of the 16384 slots a key lies in (Redis Cluster specification, "Key distribution model").

use std::sync::LazyLock;

/// How many slots there are.
pub(super) const SLOTS: u16 = 16384;

/// The slot of a key: the CRC16 of what stands between the first `{` and the `}` behind it, or of
/// all of it when there is nothing between them.
pub(super) fn of(key: &[u8]) -> u16 {
    let tagged = || {
        let open = key.iter().position(|&byte| byte == b'{')?;
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|&byte| byte == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    };
    crc16::State::<crc16::XMODEM>::calculate(tagged().unwrap_or(key)) % SLOTS
}

/// For every slot the smallest number whose decimal digits lie in it, so that every gateway names
/// the same key.
static TAGS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut tags = vec![u32::MAX; usize::from(SLOTS)];
    let mut left = tags.len();
    for number in 0..u32::MAX {
        let slot = usize::from(of(number.to_string().as_bytes()));
        if let Some(tag) = tags.get_mut(slot).filter(|tag| **tag == u32::MAX) {
            *tag = number;
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    tags
});

/// A hash tag that puts a key into this slot.
pub(super) fn tag(slot: u16) -> u32 {
    TAGS.get(usize::from(slot)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values by `CLUSTER KEYSLOT`; the tags by the specification's examples.
    #[test]
    fn keys_lie_where_redis_puts_them() {
        for (key, slot) in [
            ("foo", 12182),
            ("bar", 5061),
            ("123456789", 12739),
            ("", 0),
            ("{user1000}.following", of(b"user1000")),
            ("foo{bar}zap", 5061),
            ("foo{bar}{zap}", 5061),
            ("foo{{bar}}zap", of(b"{bar")),
            ("foo{}{bar}", of(b"foo{}{bar}")),
            ("foo{bar", of(b"foo{bar")),
        ] {
            let plain = crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % SLOTS;
            assert_eq!(of(key.as_bytes()), slot, "{key} {plain}");
        }
    }

    #[test]
    fn every_slot_has_its_tag() {
        for slot in 0..SLOTS {
            assert_eq!(of(format!("p:{{{}}}", tag(slot)).as_bytes()), slot);
        }
    }
}
