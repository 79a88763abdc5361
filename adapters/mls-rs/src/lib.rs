//! e2esm-adapter-mls-rs
