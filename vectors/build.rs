//! The embedded files are part of this crate's sources: look again when one of them changes.

fn main() {
    println!("cargo:rerun-if-changed=.");
}
