//! (in progress)
pub mod router;
pub mod tls;
pub mod upstream;
