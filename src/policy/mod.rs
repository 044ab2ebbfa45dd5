//! (in progress)
pub mod router;
pub mod upstream;
