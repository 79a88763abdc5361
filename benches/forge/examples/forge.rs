//! Forges one group and prints what it took.
//!
//!     cargo run --release -p e2esm-forge --example forge -- full 10000

use std::time::Instant;

use e2esm_adapter::GroupId;
use e2esm_forge::{Plan, Shape, State, forge};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [state, size] = arguments.as_slice() else {
        return Err("usage: forge STATE SIZE, such as `forge full 10000`".into());
    };
    let names = State::ALL.map(State::label).join(", ");
    let state = State::ALL.into_iter().find(|known| known.label() == state);
    let state = state.ok_or(format!("unknown state: one of {names}"))?;
    let group = GroupId("forge".to_owned());
    let plan = Plan { suite: 0x0001, state, size: size.parse()?, holes: Vec::new(), seed: 1, group };
    let start = Instant::now();
    let forged = forge(&plan)?;
    let forging = start.elapsed();
    let start = Instant::now();
    let shape = Shape::parse(&forged.ratchet_tree)?;
    let reading = start.elapsed();
    println!("{} members, {}: forged in {:.3} s", shape.members(), state.label(), forging.as_secs_f64());
    println!("{} bytes of tree, read in {:.3} s", forged.ratchet_tree.len(), reading.as_secs_f64());
    for leaf in [0, plan.size / 2, plan.size - 1] {
        let resolutions = shape.copath_resolution(leaf, &[])?;
        println!("leaf {leaf}: p = {}, R = {}", resolutions.len(), resolutions.iter().sum::<usize>());
    }
    Ok(())
}
