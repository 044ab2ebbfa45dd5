//! Goal: exactly one header is read, whole, however the bytes arrive; everything else is refused or
//! given back untouched. Source: proxy-protocol.txt §2.1, §2.2, §6.

use proptest::prelude::*;

use super::*;

/// A stream that hands out its bytes at most `step` at a time, and then ends.
struct Steps {
    bytes: Vec<u8>,
    given: usize,
    step: usize,
}

impl AsyncRead for Steps {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.bytes.len() - self.given;
        let count = left.min(self.step).min(buffer.remaining());
        buffer.put_slice(&self.bytes[self.given..self.given + count]);
        self.given += count;
        Poll::Ready(Ok(()))
    }
}

/// The outcome, and what is left in the stream.
fn announce(bytes: &[u8], step: usize, mode: Mode) -> (Result<Announced, Error>, Vec<u8>) {
    let mut stream = Steps { bytes: bytes.to_vec(), given: 0, step };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = runtime.block_on(read(&mut stream, mode));
    let left = stream.bytes.split_off(stream.given);
    (outcome, left)
}

fn v2_header(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [v2::PROTOCOL_PREFIX, &[command, family], &length, payload].concat()
}

const IPV4: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x12, 0x67, 1, 187];

fn ipv6() -> Vec<u8> {
    let mut payload = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
    payload.extend([0; 16]);
    payload.extend([0x12, 0x67, 1, 187]);
    payload
}

fn from(address: &str) -> Announced {
    Announced::Source(address.parse().unwrap())
}

#[test]
fn headers_are_read_to_their_last_byte_and_no_further() {
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.1 ::1 4711 443\r\n";
    let with_extension = [&IPV4[..], &[4, 0, 1, 42]].concat();
    for (header, announced) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r\n".to_vec(), from("192.0.2.1:4711")),
        (b"PROXY TCP6 2001:db8::1 ::1 4711 443\r\n".to_vec(), from("[2001:db8::1]:4711")),
        (mapped.to_vec(), from("192.0.2.1:4711")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Announced::Local),
        (b"PROXY UNKNOWN ff ff 1 2\r\n".to_vec(), Announced::Local),
        (v2_header(0x21, 0x11, &IPV4), from("192.0.2.1:4711")),
        (v2_header(0x21, 0x11, &with_extension), from("192.0.2.1:4711")),
        (v2_header(0x21, 0x21, &ipv6()), from("[2001:db8::1]:4711")),
        (v2_header(0x20, 0x00, &[]), Announced::Local),
        (v2_header(0x20, 0x11, &IPV4), Announced::Local),
        (v2_header(0x21, 0x00, &[]), Announced::Local),
        (v2_header(0x21, 0x31, &[0; 216]), Announced::Local),
    ] {
        let bytes = [&header[..], b"\x16\x03\x01 the client's own\r\n"].concat();
        for step in [1, 5, 12, 4096] {
            for mode in [Mode::Required, Mode::Optional] {
                let (outcome, left) = announce(&bytes, step, mode);
                assert_eq!(outcome.unwrap(), announced, "{header:?}");
                assert_eq!(left, b"\x16\x03\x01 the client's own\r\n", "{header:?}");
            }
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_BYTES_MAX));
    let long_v2 = v2_header(0x21, 0x11, &[0; V2_BYTES_MAX - V2_FIXED_BYTES + 1]);
    for (bytes, error) in [
        (&b"GET / HTTP/1.1\r\n"[..], "no PROXY"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", "no PROXY"),
        (b"PROXYTCP4 1.2.3.4", "no PROXY"),
        (b"proxy TCP4 192.0.2.1 10.0.0.1 4711 443\r\n", "no PROXY"),
        (b"", "ended within"),
        (b"PROXY TCP4 192.0.2.1", "ended within"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\r", "ended within"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n", "invalid"),
        (b"PROXY TCP4 192.0.2.1\r10.0.0.1 4711 443\r\n", "invalid"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443 \r\n", "invalid"),
        (b"PROXY TCP4 192.0.2.256 10.0.0.1 4711 443\r\n", "invalid"),
        (b"PROXY TCP4 2001:db8::1 ::1 4711 443\r\n", "invalid"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n", "invalid"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 04711 443\r\n", "invalid"),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4711\r\n", "invalid"),
        (b"PROXY UDP4 192.0.2.1 10.0.0.1 4711 443\r\n", "invalid"),
        (b"PROXY  TCP4 192.0.2.1 10.0.0.1 1 2\r\n", "invalid"),
        (b"PROXY TCP4 \xff\xfe 10.0.0.1 1 2\r\n", "invalid"),
        (long.as_bytes(), "too long"),
        (&long_v2, "too long"),
        (&v2_header(0x31, 0x11, &IPV4), "invalid"),
        (&v2_header(0x22, 0x11, &IPV4), "invalid"),
        (&v2_header(0x21, 0x12, &IPV4), "invalid"),
        (&v2_header(0x21, 0x13, &IPV4), "invalid"),
        (&v2_header(0x21, 0x41, &IPV4), "invalid"),
        (&v2_header(0x21, 0x10, &IPV4), "invalid"),
        (&v2_header(0x21, 0x11, &IPV4[..11]), "invalid"),
        (&v2_header(0x21, 0x11, &IPV4)[..20], "ended within"),
        (&v2_header(0x21, 0x11, &IPV4)[..13], "ended within"),
    ] {
        for step in [1, 4096] {
            let (outcome, _) = announce(bytes, step, Mode::Required);
            let refused = outcome.expect_err(&format!("{bytes:?}"));
            assert!(refused.to_string().contains(error), "{bytes:?}: {refused}");
        }
    }
}

/// A header that has begun must end well: falling back to "no header" would let the client choose.
#[test]
fn optional_forgives_absence_only() {
    for bytes in [
        &b"PROXY TCP4 192.0.2.256 10.0.0.1 4711 443\r\n"[..],
        b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 443\n",
        &v2_header(0x21, 0x12, &IPV4),
    ] {
        assert!(announce(bytes, 4096, Mode::Optional).0.is_err(), "{bytes:?}");
    }
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"PROPFIND / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""]
    {
        for step in [1, 4096] {
            let (outcome, left) = announce(bytes, step, Mode::Optional);
            let Ok(Announced::Nothing(start)) = outcome else { panic!("{bytes:?}: {outcome:?}") };
            assert_eq!([start, left].concat(), bytes);
        }
    }
}

#[tokio::test]
async fn a_replay_begins_with_what_was_read() {
    let stream = Steps { bytes: b"/ HTTP/1.1".to_vec(), given: 0, step: 3 };
    let mut replay = Replay::new(b"GET ".to_vec(), stream);
    let mut all = Vec::new();
    replay.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"GET / HTTP/1.1");
}

proptest! {
    /// Nothing panics, no byte is lost, and no more than a header is read.
    #[test]
    fn any_bytes_are_safe(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", v2::PROTOCOL_PREFIX,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"]),
        tail in prop::collection::vec(any::<u8>(), 0..700),
        step in 1..40_usize,
    ) {
        let bytes = [start, &tail].concat();
        let (outcome, left) = announce(&bytes, step, Mode::Optional);
        prop_assert!(bytes.len() - left.len() <= V2_BYTES_MAX);
        if let Ok(Announced::Nothing(start)) = outcome {
            prop_assert_eq!([start, left].concat(), bytes);
        }
    }
}
