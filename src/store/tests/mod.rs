//! Tests of the store, and the servers they start.
