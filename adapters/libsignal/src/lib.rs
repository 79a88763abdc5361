//! e2esm-adapter-libsignal
