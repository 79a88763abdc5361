//! e2esm-vectors
