//! Where WebSocket frames begin and end (RFC 6455 §5.2), told from their heads alone: payloads are
//! skipped, nothing is unmasked or kept.

/// Bytes of the longest head: two, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;
const CLOSE: u8 = 0x8;
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Policy violation (RFC 6455 §7.4.1).
const POLICY_VIOLATION: u16 = 1008;
/// What the peer is told; not which check failed.
const REASON: &[u8] = b"the token is no longer valid";

/// How far one direction has come.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of the head so far.
    got: usize,
    /// Bytes of the payload to come.
    left: u64,
    closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(super) fn passed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
                continue;
            }
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.got) {
                *place = byte;
                self.got += 1;
            }
            if let Some(length) = self.payload() {
                let [first, ..] = self.head;
                self.closed |= first & 0xf == CLOSE;
                (self.got, self.left) = (0, length);
            }
        }
    }

    /// The payload's length, once the head is complete.
    fn payload(&self) -> Option<u64> {
        let head = self.head.get(..self.got)?;
        let [_, second, rest @ ..] = head else { return None };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        let (extended, length) = match second & 0x7f {
            126 => (2, rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes).into())),
            127 => (8, rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))),
            short => (0, Some(short.into())),
        };
        (rest.len() == extended + mask).then_some(length?)
    }

    /// Whether no frame is under way, so that one of ours may follow; a message may be, for
    /// control frames stand between its fragments (RFC 6455 §5.4).
    pub(super) const fn is_between(&self) -> bool {
        self.got == 0 && self.left == 0
    }

    /// Whether a Close frame has passed: none may follow.
    pub(super) const fn has_closed(&self) -> bool {
        self.closed
    }
}

/// A Close frame as a server sends it.
pub(super) fn close() -> Vec<u8> {
    frame(None)
}

/// A Close frame as a client sends it: masked (RFC 6455 §5.3).
pub(super) fn masked_close() -> Vec<u8> {
    frame(Some(fastrand::u32(..).to_be_bytes()))
}

fn frame(mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload: Vec<u8> =
        POLICY_VIOLATION.to_be_bytes().into_iter().chain(REASON.to_vec()).collect();
    let length = u8::try_from(payload.len()).unwrap_or_default();
    let masked = if mask.is_some() { MASKED } else { 0 };
    let mut frame = vec![FIN | CLOSE, masked | length];
    frame.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(opcode: u8, mask: bool, length: usize) -> Vec<u8> {
        let masked = if mask { MASKED } else { 0 };
        let mut bytes = vec![FIN | opcode];
        match length {
            0..126 => bytes.push(masked | u8::try_from(length).unwrap()),
            126..65_536 => {
                bytes.push(masked | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(if mask { vec![1, 2, 3, 4] } else { Vec::new() });
        // Bytes that would be heads.
        bytes.extend(vec![0x88; length]);
        bytes
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![0..4_usize, 120..130_usize, 65_530..65_540_usize, 0..70_000_usize]
    }

    proptest! {
        /// However the bytes are cut into pieces, the ends of frames are known, and only they.
        #[test]
        fn ends_of_frames_are_known(
            all in prop::collection::vec((lengths(), any::<bool>(), 0..3_u8), 1..6),
            piece in 1..5000_usize,
        ) {
            let (mut frames, mut ends, mut stream) = (Frames::default(), vec![0], Vec::new());
            for (length, mask, opcode) in all {
                stream.extend(written(opcode, mask, length));
                ends.push(stream.len());
            }
            let mut at = 0;
            for bytes in stream.chunks(piece) {
                frames.passed(bytes);
                at += bytes.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&at), "at {}", at);
            }
            prop_assert!(!frames.has_closed());
        }

        /// What is no WebSocket does no harm.
        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut frames = Frames::default();
            bytes.chunks(7).for_each(|piece| frames.passed(piece));
            let _ = frames.is_between();
        }
    }

    #[test]
    fn close_frames_are_well_formed() {
        for (frame, masked) in [(close(), false), (masked_close(), true)] {
            let mut frames = Frames::default();
            frames.passed(&frame);
            assert!(frames.is_between() && frames.has_closed(), "masked: {masked}");
            let (head, payload) = frame.split_at(if masked { 6 } else { 2 });
            let key: Vec<u8> = if masked { head[2..].to_vec() } else { vec![0; 4] };
            let plain: Vec<u8> =
                payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
            assert_eq!(plain[..2], 1008_u16.to_be_bytes());
            assert_eq!(&plain[2..], REASON);
            assert!(frame.len() <= 125 + head.len(), "a control frame");
        }
    }
}
