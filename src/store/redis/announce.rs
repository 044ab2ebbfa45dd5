//! Word between gateways: what one of them revokes reaches the others' live streams at once.
//!
//! Published by the very script that keeps the entry, received by `SUBSCRIBE` on a connection of
//! its own. Pub/sub promises nothing, so a word is a reason to ask and never an answer, and every
//! gap (a connection that was lost, a word that cannot be read) is told as [`Word::Missed`].

use std::sync::Arc;
use std::time::Duration;

use redis::{PushInfo, PushKind, Value};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::answer;
use super::connect::{Connected, Connector};
use crate::store::{Backoff, Error, Word};

/// The first pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often the connection is tried: a silently dead one says nothing by itself.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two attempts while the server forbids it.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);

/// Who is told of every word; must not block.
pub(in crate::store) type Hear = Arc<dyn Fn(Word<'_>) + Send + Sync>;

/// Listens until it is dropped.
pub struct Ear(JoinHandle<()>);

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ear {
    /// Starts listening on the current runtime; a server that is down is no error.
    pub(super) fn open(
        connector: Arc<Connector>,
        channel: String,
        patience: Duration,
        hear: Hear,
    ) -> Self {
        Self(tokio::spawn(listen(connector, channel, patience, hear)))
    }
}

async fn listen(connector: Arc<Connector>, channel: String, patience: Duration, hear: Hear) {
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    let mut warned = false;
    loop {
        let attempt = timeout(patience, subscribe(&connector, &channel, &hear)).await;
        match attempt.unwrap_or(Err(Error::Timeout)) {
            Ok(connected) => {
                backoff.reset();
                hear(Word::Missed);
                let why = keep(&connector, connected, patience).await;
                tracing::debug!(detail = %why, "no longer listening for revocations");
            }
            Err(error @ Error::Answer(_)) => {
                if !std::mem::replace(&mut warned, true) {
                    tracing::warn!(
                        detail = %error,
                        channel,
                        "the store forbids to listen for revocations (ACL: grant +subscribe and \
                         the channel); live streams hear of other gateways' two seconds later"
                    );
                }
                sleep(FORBIDDEN_PAUSE).await;
            }
            Err(error) => {
                tracing::debug!(detail = %error, "cannot listen for revocations");
                sleep(backoff.pause()).await;
            }
        }
    }
}

async fn subscribe(connector: &Connector, channel: &str, hear: &Hear) -> Result<Connected, Error> {
    let hear = Arc::clone(hear);
    let pushed = move |push: PushInfo| -> Result<(), redis::aio::SendError> {
        take(push, &hear);
        Ok(())
    };
    let mut connected = connector.connect_hearing(Arc::new(pushed)).await?;
    connected.handle.subscribe(channel).await.map_err(|error| answer::error(&error))?;
    Ok(connected)
}

fn take(push: PushInfo, hear: &Hear) {
    if push.kind != PushKind::Message {
        return;
    }
    // Channel and payload.
    let suffix = match push.data.into_iter().nth(1) {
        Some(Value::BulkString(bytes)) => String::from_utf8(bytes).ok(),
        Some(Value::SimpleString(text)) => Some(text),
        _ => None,
    };
    hear(suffix.as_deref().map_or(Word::Missed, Word::Entry));
}

/// Watches the connection to its end; says why it ended.
async fn keep(connector: &Connector, mut connected: Connected, patience: Duration) -> Error {
    loop {
        tokio::select! {
            _ = &mut connected.driver.0 => return Error::Lost,
            () = connector.named_elsewhere(connected.named.as_ref()) => {
                return Error::Down("the sentinels name another master".into());
            }
            () = sleep(PROBE_INTERVAL) => {
                match timeout(patience, connector.check_role(&mut connected.handle)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error,
                    Err(_) => return Error::Timeout,
                }
            }
        }
    }
}
