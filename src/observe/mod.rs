//! What is written down: the application log (stderr) and the access log (one line a request).
//!
//! Nothing here may ever receive a token, a cookie, a password or a query string.

pub mod access_log;
pub mod lines;
pub mod logging;
