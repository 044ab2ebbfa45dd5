//! Connections to the services behind the gateway: pooled, bounded in time, never shared between
//! two requests at once.
//!
//! A response body gives its connection back when its last byte was read; a body that was not read
//! to its end takes its connection down with it, so no byte of one response can reach another
//! client (R34).

mod connect;
mod idle;
mod pool;
mod send;
mod streamed;
mod upload;

use idle::Alarm;
pub use idle::IdleTimer;
pub use pool::Pool;
pub use send::{Failure, Upgraded, is_idempotent, send, send_upgrade};
pub use streamed::Streamed;
pub use upload::{Outcome, Progress, Upload};
