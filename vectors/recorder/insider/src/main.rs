//! x
mod bent;
mod wire;
fn main() {}
