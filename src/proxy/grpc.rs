//! How a gRPC stream is ended so that its client understands it: between two messages, by trailers.

use http::{HeaderMap, HeaderName, HeaderValue};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// `UNAUTHENTICATED`.
const UNAUTHENTICATED: HeaderValue = HeaderValue::from_static("16");

/// Bytes in front of every message: whether it is compressed, and its length.
const PREFIX_BYTES: u8 = 5;

/// The trailers of a stream whose token counts no longer. They do not say which check failed.
pub(super) fn unauthenticated() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(STATUS, UNAUTHENTICATED);
    trailers.insert(MESSAGE, HeaderValue::from_static("the token is no longer valid"));
    trailers
}

/// Where a stream of length-prefixed messages stands (gRPC over HTTP/2, "Requests" and
/// "Responses").
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Of the message under way.
    left: u32,
    /// Of the next one.
    length: u32,
    /// Bytes of the prefix so far.
    prefix: u8,
}

impl Messages {
    /// These bytes were handed over.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let count = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= u32::try_from(count).unwrap_or(self.left);
                bytes = bytes.get(count..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            self.prefix += 1;
            if self.prefix > 1 {
                self.length = self.length << 8 | u32::from(byte);
            }
            if self.prefix == PREFIX_BYTES {
                *self = Self { left: self.length, ..Self::default() };
            }
        }
    }

    /// Whether no message is under way.
    pub(super) const fn is_between(&self) -> bool {
        self.left == 0 && self.prefix == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(length).unwrap().to_be_bytes());
        bytes.extend(vec![7; length]);
        bytes
    }

    #[test]
    fn a_stream_begins_between_messages() {
        let mut messages = Messages::default();
        assert!(messages.is_between());
        messages.passed(&[]);
        assert!(messages.is_between());
        messages.passed(&message(0));
        assert!(messages.is_between(), "an empty message");
        messages.passed(&message(3)[..7]);
        assert!(!messages.is_between());
    }

    proptest! {
        /// However the bytes are cut into pieces, the ends of messages are known, and only they.
        #[test]
        fn ends_of_messages_are_known(
            lengths in prop::collection::vec(0..70_000_usize, 1..5),
            piece in 1..9000_usize,
        ) {
            let (mut messages, mut ends, mut stream) = (Messages::default(), vec![0], Vec::new());
            for length in lengths {
                stream.extend(message(length));
                ends.push(stream.len());
            }
            let mut at = 0;
            for bytes in stream.chunks(piece) {
                messages.passed(bytes);
                at += bytes.len();
                prop_assert_eq!(messages.is_between(), ends.contains(&at), "at {}", at);
            }
        }
    }
}
