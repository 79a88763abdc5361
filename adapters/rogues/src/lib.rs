//! e2esm-rogues
