//! A service that knows nothing of Postern: it records what it sees, byte for byte, and answers
//! well or as badly as the test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// The request target, not decoded.
    pub target: String,
    pub version: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Trailer lines after a chunked body.
    pub trailers: Vec<String>,
    /// Whether the body arrived whole.
    pub complete: bool,
    /// Number of the connection that it came on, from 0.
    pub connection: usize,
}

impl Seen {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; panics when it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} arrived {} times: {all:?}", all.len());
        all.first().copied()
    }
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
}

/// Answers one request by writing to the socket.
type Answerer = dyn Fn(&Seen, &mut TcpStream) -> After + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    open: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
    /// Answer as soon as the head is there, without reading the body.
    early: bool,
    answerer: Box<Answerer>,
}

/// A running upstream; it stops when dropped.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Answers every request with 200 and a JSON description of what arrived.
    pub fn start() -> Self {
        Self::with(|seen, stream| {
            let body = describe(seen).to_string();
            reply(stream, "200 OK", &[("Content-Type", "application/json")], &body);
            After::Keep
        })
    }

    /// Answers as `answerer` writes, once the whole request has arrived.
    pub fn with(answerer: impl Fn(&Seen, &mut TcpStream) -> After + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), false, Box::new(answerer))
    }

    /// Answers these bytes, whatever they are, and closes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::with(move |_, stream| {
            drop(stream.write_all(&bytes));
            After::Close
        })
    }

    /// Answers as soon as the head has arrived; the body is the answerer's to read.
    pub fn early(
        answerer: impl Fn(&Seen, &mut TcpStream) -> After + Send + Sync + 'static,
    ) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), true, Box::new(answerer))
    }

    /// A good upstream on an address that one had before.
    pub fn start_at(address: SocketAddr) -> Self {
        let answerer = |seen: &Seen, stream: &mut TcpStream| {
            reply(stream, "200 OK", &[], &describe(seen).to_string());
            After::Keep
        };
        Self::listen(address, false, Box::new(answerer))
    }

    fn listen(address: SocketAddr, early: bool, answerer: Box<Answerer>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            open: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            early,
            answerer,
        });
        let theirs = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let theirs = theirs.clone();
                std::thread::spawn(move || serve(&theirs, stream));
            }
        });
        Self { address, shared }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests were seen.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream saw a request")
    }

    /// Forgets what it saw.
    pub fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }

    /// Asserts that nothing came through.
    pub fn saw_nothing(&self, context: &str) {
        let seen = self.seen();
        assert!(seen.is_empty(), "{context}: the upstream saw {seen:#?}");
    }

    /// Closes every open connection, as a server does whose keep-alive ran out.
    pub fn close_connections(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.close_connections();
        drop(TcpStream::connect(self.address));
    }
}

/// What arrived, as JSON.
pub fn describe(seen: &Seen) -> Value {
    json!({
        "method": seen.method, "target": seen.target, "headers": seen.headers,
        "body_length": seen.body.len(),
    })
}

/// A well-formed answer with Content-Length; no body on HEAD is the caller's business.
pub fn reply(stream: &mut impl Write, status: &str, headers: &[(&str, &str)], body: &str) {
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    drop(stream.write_all(format!("{head}\r\n{body}").as_bytes()));
}

fn serve(shared: &Shared, stream: TcpStream) {
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    drop(stream.set_nodelay(true));
    shared.open.lock().unwrap().push(stream.try_clone().unwrap());
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(mut seen) = head(&mut reader) {
        seen.connection = connection;
        if shared.early {
            // What came with the head is the answerer's as well.
            seen.body = reader.buffer().to_vec();
            reader.consume(seen.body.len());
            shared.seen.lock().unwrap().push(seen.clone());
        } else {
            seen.complete = body(&mut reader, &mut writer, &mut seen).is_some();
            shared.seen.lock().unwrap().push(seen.clone());
            if !seen.complete {
                return;
            }
        }
        if (shared.answerer)(&seen, &mut writer) == After::Close {
            drop(writer.shutdown(Shutdown::Both));
            return;
        }
    }
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    let text = line.strip_suffix(b"\r\n")?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn head(reader: &mut impl BufRead) -> Option<Seen> {
    let start = line(reader)?;
    let mut parts = start.splitn(3, ' ').map(str::to_owned);
    let mut seen = Seen {
        method: parts.next()?,
        target: parts.next()?,
        version: parts.next()?,
        ..Seen::default()
    };
    loop {
        let field = line(reader)?;
        if field.is_empty() {
            return Some(seen);
        }
        // Kept as it came: a space before the colon would show in the name.
        let (name, value) = field.split_once(':')?;
        seen.headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn body(reader: &mut impl BufRead, writer: &mut impl Write, seen: &mut Seen) -> Option<()> {
    let expects = seen.header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue"));
    if expects {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    if seen.header("transfer-encoding").is_some() {
        return chunks(reader, seen);
    }
    let length: u64 = seen.header("content-length").map_or(Some(0), |v| v.parse().ok())?;
    reader.take(length).read_to_end(&mut seen.body).ok()?;
    (seen.body.len() as u64 == length).then_some(())
}

fn chunks(reader: &mut impl BufRead, seen: &mut Seen) -> Option<()> {
    loop {
        let size = u64::from_str_radix(&line(reader)?, 16).ok()?;
        if size == 0 {
            loop {
                let trailer = line(reader)?;
                if trailer.is_empty() {
                    return Some(());
                }
                seen.trailers.push(trailer);
            }
        }
        let before = seen.body.len();
        reader.take(size).read_to_end(&mut seen.body).ok()?;
        ((seen.body.len() - before) as u64 == size && line(reader)?.is_empty()).then_some(())?;
    }
}
