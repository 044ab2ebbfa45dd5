//! The application log: what the gateway itself has to say, on standard error.

use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::lines::{Lines, Writer};

/// How long the end of the process waits for a reader of the log.
const END_WAIT: Duration = Duration::from_secs(1);

/// The one log of this process.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    lines: Arc<Lines>,
    writer: Writer,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Starts the log. A second call in one process changes nothing (tests, `demo`).
///
/// Libraries are heard from `warn` upwards at most: their debug lines could show header values.
pub fn start(level: Level, format: Format) {
    let own = LevelFilter::from_level(level);
    let others = own.min(LevelFilter::WARN);
    // hyper warns of every client that is slow with its request head; that is an access-log
    // matter, not an operator's.
    let filter = Targets::new()
        .with_default(others)
        .with_target("hyper", LevelFilter::ERROR)
        .with_target("postern", own);
    let Ok((lines, writer)) = Lines::start("log", Box::new(io::stderr()), Duration::ZERO) else {
        return;
    };
    let lines = Arc::new(lines);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(ToLines(lines.clone()));
    let started = match format {
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        Format::Text => registry.with(layer.with_ansi(false).with_target(false)).try_init(),
    };
    match started {
        Ok(()) => drop(LOG.set(Log { lines, writer })),
        Err(_) => lines.close(),
    }
}

/// Writes what is queued; to be called last. A reader that has stopped reading is waited for
/// briefly.
pub fn end() {
    let Some(log) = LOG.get() else { return };
    let until = Instant::now() + END_WAIT;
    let mut closed = false;
    while Instant::now() < until && !log.writer.is_finished() {
        closed = closed || log.lines.try_close();
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Makes a writer for each event.
struct ToLines(Arc<Lines>);

/// One event; queued as a whole when it is complete.
struct Event {
    lines: Arc<Lines>,
    bytes: Vec<u8>,
}

impl<'a> MakeWriter<'a> for ToLines {
    type Writer = Event;

    fn make_writer(&'a self) -> Event {
        Event { lines: self.0.clone(), bytes: Vec::with_capacity(256) }
    }
}

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        self.lines.push(std::mem::take(&mut self.bytes));
    }
}
