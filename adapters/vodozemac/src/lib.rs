//! e2esm-adapter-vodozemac
