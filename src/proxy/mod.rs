//! (in progress)

pub mod target;
pub mod client;
pub mod guard;
pub mod csrf;
pub mod identity;

pub use crate::policy::canonical;
