//! The rules of the local copy, tried against a model.

mod model;
mod server;
