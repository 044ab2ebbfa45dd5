//! The application log: what the gateway itself has to say, on standard error.

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

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
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let _ = match format {
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
        Format::Text => registry.with(layer.with_ansi(false).with_target(false)).try_init(),
    };
}
