//! e2esm-adapter-openmls
