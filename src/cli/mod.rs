//! The command line. (in progress)

pub mod token;
