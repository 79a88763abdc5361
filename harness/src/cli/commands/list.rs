//! `e2esm list` and `e2esm show`

use anyhow::{Context, Result};
use e2esm::report::story;

use crate::cli::args::{Listed, PeerSource, VectorSource};
use crate::cli::{AS_EXPECTED, console};

pub(crate) fn list(what: Listed, peers: &PeerSource, source: &VectorSource) -> Result<u8> {
    match what {
        Listed::Vectors => {
            for vector in super::vectors(source)?.vectors {
                console::say(format_args!("{:<44} {:<12} {}", vector.id, vector.requirements.join(","), vector.title));
            }
        }
        Listed::Requirements => {
            for requirement in super::vectors(source)?.requirements {
                console::say(format_args!("{:<3} {}", requirement.id, requirement.title));
                console::say(format_args!("    {}", requirement.statement));
                console::say(format_args!("    a user takes for granted: {}", requirement.expectation));
            }
        }
        Listed::Adapters => {
            for adapter in e2esm::registry::built_in() {
                let about = adapter.describe();
                console::say(format_args!("{:<20} {} {}", about.name, about.implementation, about.version));
                console::say(format_args!("    {}, {}, {}", about.protocol, about.cipher_suite, about.crypto_provider));
                for (name, value) in &about.configuration {
                    console::say(format_args!("    {name}: {value}"));
                }
                for (capability, because) in &about.unsupported {
                    console::say(format_args!("    unsupported {}: {because}", capability.label()));
                }
            }
            let peers = super::peers(peers)?;
            let width = peers.iter().map(|peer| peer.name.len()).max().unwrap_or_default();
            for peer in peers {
                let state = e2esm::peers::install::state(&peer)?;
                console::say(format_args!("{:<width$} {} ({})", peer.name, peer.about, state.label()));
            }
        }
        Listed::Rogues => {
            for rogue in e2esm::rogues::all() {
                let kind = if rogue.sound { "sound" } else { "flawed" };
                console::say(format_args!("{:<26} {kind:<7} over {:<20} {}", rogue.name, rogue.base, rogue.what));
                console::say(format_args!("    {}", rogue.precedent));
            }
            for rogue in e2esm::rogues::passive() {
                let kind = if rogue.sound { "sound" } else { "flawed" };
                console::say(format_args!(
                    "{:<26} {kind:<7} over {:<20} only receives: {}",
                    rogue.name, rogue.base, rogue.what
                ));
                console::say(format_args!("    {}", rogue.precedent));
            }
        }
    }
    Ok(AS_EXPECTED)
}

pub(crate) fn show(id: &str, source: &VectorSource) -> Result<u8> {
    let set = super::vectors(source)?;
    let vector = set
        .vectors
        .iter()
        .find(|vector| vector.id == id)
        .with_context(|| format!("there is no vector `{id}`: see `e2esm list vectors`"))?;
    console::tell(&story::show(vector, &set.requirements));
    Ok(AS_EXPECTED)
}
