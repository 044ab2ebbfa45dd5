//! (in progress)

pub mod canonical;
pub mod identity;
pub mod origin;
pub mod reserved;
pub mod trusted;
