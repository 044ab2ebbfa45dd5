//! A client that is strict about what it reads and free in what it writes: HTTP/1.1 over TLS or
//! plain TCP, byte by byte when a test wants that.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::pki::authority;

/// How long a read may take before the test calls it a hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where and how to connect.
#[derive(Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// The name for SNI and Host; `None` means plain TCP.
    pub tls: Option<Arc<ClientConfig>>,
    pub host: String,
}

impl Endpoint {
    /// HTTPS with ALPN http/1.1.
    pub fn https(address: SocketAddr, host: &str) -> Self {
        let tls = authority().client(&[b"http/1.1"], rustls::DEFAULT_VERSIONS);
        Self { address, tls: Some(tls), host: host.to_owned() }
    }

    /// Plain HTTP.
    pub fn http(address: SocketAddr) -> Self {
        Self { address, tls: None, host: address.to_string() }
    }

    /// A request to be filled in.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request {
            endpoint: self.clone(),
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![("Host".to_owned(), self.host.clone())],
            body: None,
        }
    }

    /// A connection with the handshake done.
    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    /// The same, or why not.
    pub fn try_connect(&self) -> std::io::Result<Connection> {
        let tcp = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let Some(config) = &self.tls else {
            return Ok(Connection { stream: Stream::Plain(tcp), buffer: Vec::new() });
        };
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let mut session = ClientConnection::new(config.clone(), name).unwrap();
        let mut tcp = tcp;
        while session.is_handshaking() {
            session.complete_io(&mut tcp)?;
        }
        let stream = Stream::Tls(Box::new(StreamOwned::new(session, tcp)));
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Writes `bytes` on a new connection and reads one answer to it.
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut connection = self.connect();
        connection.write(bytes.as_ref());
        connection.answer("GET")
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// An open connection.
pub struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Connection {
    /// The TCP socket below.
    pub fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    /// The TLS session below.
    pub fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Plain(_) => panic!("a plain connection"),
            Stream::Tls(tls) => &tls.conn,
        }
    }

    /// Writes all of `bytes`; a peer that has already closed is not an error here.
    pub fn write(&mut self, bytes: &[u8]) {
        drop(self.try_write(bytes));
    }

    /// Writes all of `bytes`.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes),
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Reads whatever comes next; empty at the end of the stream, clean or not.
    pub fn read_some(&mut self) -> std::io::Result<Vec<u8>> {
        if !self.buffer.is_empty() {
            return Ok(std::mem::take(&mut self.buffer));
        }
        let mut chunk = vec![0; 65536];
        let read = match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(&mut chunk),
            Stream::Tls(tls) => tls.read(&mut chunk),
        };
        match read {
            Ok(n) => Ok(chunk[..n].to_vec()),
            Err(e)
                if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&e.kind()) =>
            {
                Ok(Vec::new())
            }
            Err(e) => Err(e),
        }
    }

    /// Whether the peer closes within `limit` (bytes that come first are thrown away).
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        let end = std::time::Instant::now() + limit;
        self.buffer.clear();
        while let Some(left) = end.checked_duration_since(std::time::Instant::now()) {
            let left = left.max(Duration::from_millis(1));
            self.tcp().set_read_timeout(Some(left)).unwrap();
            match self.read_some() {
                Ok(bytes) if bytes.is_empty() => return true,
                Ok(_) => {}
                Err(e) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&e.kind()) => {
                    return false;
                }
                Err(_) => return true,
            }
        }
        false
    }

    /// Closes without a word.
    pub fn vanish(self) {
        drop(self.tcp().shutdown(Shutdown::Both));
    }

    /// Reads one answer to a request with `method`; panics when what comes is not one.
    pub fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).unwrap_or_else(|why| panic!("no answer: {why}"))
    }

    /// Reads one answer, or says what was wrong with it. Strict: RFC 9112 and nothing else.
    pub fn try_answer(&mut self, method: &str) -> Result<Answer, String> {
        let mut interim = Vec::new();
        loop {
            let mut answer = self.head()?;
            if (100..200).contains(&answer.status) && answer.status != 101 {
                interim.push(answer.status);
                continue;
            }
            answer.interim = std::mem::take(&mut interim);
            let bodiless = method == "HEAD" || [101, 204, 304].contains(&answer.status);
            if !bodiless {
                self.body(&mut answer)?;
            }
            return Ok(answer);
        }
    }

    /// Reads exactly `count` bytes of whatever follows (a tunnel's bytes).
    pub fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            self.more().unwrap();
        }
        self.buffer.drain(..count).collect()
    }

    fn more(&mut self) -> Result<(), String> {
        let mut kept = std::mem::take(&mut self.buffer);
        let new = self.read_some().map_err(|e| e.to_string())?;
        if new.is_empty() {
            let so_far = String::from_utf8_lossy(&kept).into_owned();
            return Err(format!("the connection ended after {:?}", so_far));
        }
        kept.extend(new);
        self.buffer = kept;
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|e| e.to_string());
            }
            self.more()?;
        }
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, String> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(format!("bad field name: {line:?}"));
            }
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn head(&mut self) -> Result<Answer, String> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| format!("no status line: {line:?}"))?;
        Ok(Answer { status, headers: self.fields()?, ..Answer::default() })
    }

    fn body(&mut self, answer: &mut Answer) -> Result<(), String> {
        let lengths = answer.all("content-length");
        let codings = answer.all("transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], ["chunked"]) => self.chunked(answer),
            ([length], []) => {
                let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
                while self.buffer.len() < length {
                    self.more()?;
                }
                answer.body = self.buffer.drain(..length).collect();
                Ok(())
            }
            ([], []) => {
                while self.more().is_ok() {}
                answer.body = std::mem::take(&mut self.buffer);
                Ok(())
            }
            other => Err(format!("ambiguous framing: {other:?}")),
        }
    }

    fn chunked(&mut self, answer: &mut Answer) -> Result<(), String> {
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| format!("chunk {line:?}"))?;
            if size == 0 {
                answer.trailers = self.fields()?;
                return Ok(());
            }
            while self.buffer.len() < size + 2 {
                self.more()?;
            }
            answer.body.extend(self.buffer.drain(..size));
            let end: Vec<u8> = self.buffer.drain(..2).collect();
            if end != b"\r\n" {
                return Err(format!("chunk ends with {end:?}"));
            }
        }
    }
}

/// A request being made.
#[derive(Clone)]
pub struct Request {
    endpoint: Endpoint,
    pub method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the Host field.
    pub fn host(mut self, host: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Host");
        self.header("Host", host)
    }

    /// `Authorization: Bearer …`
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A body with its Content-Length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = Some(body.as_ref().to_vec());
        let length = body.as_ref().len().to_string();
        self.header("Content-Length", &length)
    }

    /// A JSON body.
    pub fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    /// A form body.
    pub fn form(self, text: &str) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded").body(text)
    }

    /// The bytes that go out.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            out.extend(format!("{name}: {value}\r\n").bytes());
        }
        out.extend(b"\r\n");
        out.extend(self.body.as_deref().unwrap_or_default());
        out
    }

    /// Sends it on a connection of its own and reads the answer.
    pub fn send(&self) -> Answer {
        self.try_send().unwrap_or_else(|why| panic!("{} {}: {why}", self.method, self.target))
    }

    /// The same, or what went wrong.
    pub fn try_send(&self) -> Result<Answer, String> {
        let mut connection = self.endpoint.try_connect().map_err(|e| e.to_string())?;
        self.on(&mut connection)
    }

    /// Sends it on an open connection and reads the answer.
    pub fn on(&self, connection: &mut Connection) -> Result<Answer, String> {
        connection.write(&self.bytes());
        connection.try_answer(&self.method)
    }
}

/// An answer as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The statuses of the 1xx answers before it.
    pub interim: Vec<u16>,
}

impl Answer {
    /// All values of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |field: &&(String, String)| field.0.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; panics when it is there twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} arrived {} times", all.len());
        all.first().copied()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {} {:?}", self.status, self.text()))
    }

    /// Asserts the status.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// Asserts a refusal by the gateway itself: the status and exactly the contract's problem
    /// body (RFC 9457), with the request id that the header names.
    pub fn refused(self, status: u16) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let id = answer.header("x-request-id").expect("a refusal names its request id");
        let body = answer.json();
        let title = body["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty(), "{body}");
        let whole = json!({
            "type": "about:blank", "title": title, "status": status, "request_id": id,
        });
        assert_eq!(body, whole);
        answer
    }
}
