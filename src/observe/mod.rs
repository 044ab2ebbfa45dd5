//! What is written down: the application log (stderr), the access log (one line a request), the
//! audit log (what changed, who was refused), and what is counted.
//!
//! Nothing here may ever receive a token, a cookie, a password or a query string.

pub mod access_log;
pub mod audit;
pub mod lines;
pub mod logging;
pub mod metrics;
pub mod phase;
