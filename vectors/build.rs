//! The embedded files are part of this crate's sources: look again when one of them changes.

fn main() {
    for path in ["authentication", "removal", "device-addition", "participation", "integrity", "requirements.json"] {
        println!("cargo:rerun-if-changed={path}");
    }
}
