//! e2esm
