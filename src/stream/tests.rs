//! The index and its keeper.
