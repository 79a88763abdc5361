//! e2esm-sender-keys
