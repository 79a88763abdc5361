//! `e2esm peers`

use anyhow::{Context, Result, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, Color, ContentArrangement, Table};
use e2esm::peers::Peer;
use e2esm::peers::install::{self, State};
use serde_json::json;

use crate::cli::args::{PeerAction, RogueFormat};
use crate::cli::{AS_EXPECTED, INTERRUPTED, UNEXPECTED, console};

pub(crate) fn peers(action: &PeerAction) -> Result<u8> {
    match action {
        PeerAction::Install { name, source, force } => install(&chosen(name, &super::peers(source)?)?, *force),
        PeerAction::List { source, format } => list(&super::peers(source)?, *format),
        PeerAction::Remove { name, all, source } => {
            if name.is_empty() && !all {
                bail!("say which peers to remove (see `e2esm peers list`), or --all for every one");
            }
            let all = super::peers(source)?;
            let chosen = chosen(name, &all)?;
            unshared(name, &all)?;
            remove(&chosen)
        }
    }
}

/// Nobody removes one adapter by the name of another that uses the same installation.
fn unshared(names: &[String], all: &[Peer]) -> Result<()> {
    for peer in all.iter().filter(|peer| names.contains(&peer.name)) {
        if peer.installed_as != peer.name && !names.contains(&peer.installed_as) {
            bail!(
                "`{}` uses the installation of `{owner}`: to remove both, say `{owner}`",
                peer.name,
                owner = peer.installed_as
            );
        }
    }
    Ok(())
}

/// The installations of these names, each once; all if none is named.
fn chosen(names: &[String], all: &[Peer]) -> Result<Vec<Peer>> {
    for name in names {
        if !all.iter().any(|peer| peer.name == *name) {
            let known: Vec<_> = all.iter().map(|peer| peer.name.as_str()).collect();
            bail!("there is no peer `{name}`: expected one of {}", known.join(", "));
        }
    }
    let mut chosen: Vec<Peer> = Vec::new();
    for peer in all.iter().filter(|peer| names.is_empty() || names.contains(&peer.name)) {
        // One installation may serve several adapters: it is the owner that is installed.
        let owner = all.iter().find(|owner| owner.name == peer.installed_as).unwrap_or(peer);
        if owner.installs() && !chosen.iter().any(|known| known.name == owner.name) {
            chosen.push(owner.clone());
        }
    }
    Ok(chosen)
}

fn install(peers: &[Peer], force: bool) -> Result<u8> {
    // The running step is ended then, and nothing more is installed.
    let interrupted = super::interrupts()?;
    let mut failed = 0;
    for peer in peers {
        if interrupted() {
            return Ok(INTERRUPTED);
        }
        if !force && install::state(peer)? == State::Installed {
            console::say(format_args!("{}: there already, in {}", peer.name, peer.into.display()));
            continue;
        }
        let spinner = console::spinner(&peer.name);
        let told = |step: &str| spinner.set_message(format!("{}: {step}", peer.name));
        let outcome = install::install(peer, &told, &interrupted);
        spinner.finish_and_clear();
        match outcome {
            Ok(()) => console::say(format_args!("{}: installed in {}", peer.name, peer.into.display())),
            Err(_) if interrupted() => {
                eprintln!("e2esm: interrupted: {} was not installed", peer.name);
                return Ok(INTERRUPTED);
            }
            Err(error) => {
                eprintln!("e2esm: {} was not installed: {error:#}", peer.name);
                failed += 1;
            }
        }
    }
    Ok(if failed == 0 { AS_EXPECTED } else { UNEXPECTED })
}

fn remove(peers: &[Peer]) -> Result<u8> {
    for peer in peers {
        if peer.into.exists() {
            std::fs::remove_dir_all(&peer.into).with_context(|| peer.into.display().to_string())?;
            console::say(format_args!("{}: removed", peer.name));
        } else {
            console::say(format_args!("{}: not there", peer.name));
        }
    }
    Ok(AS_EXPECTED)
}

fn list(peers: &[Peer], format: RogueFormat) -> Result<u8> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["peer", "what it is", "state", "this machine lacks"]);
    let mut rows = Vec::new();
    for peer in peers {
        let state = install::state(peer)?;
        let lacks: Vec<_> = install::missing_needs(peer).iter().map(ToString::to_string).collect();
        let mut cell = Cell::new(state.label());
        if console::colour() {
            cell = cell.fg(if state.runs() { Color::Green } else { Color::Yellow });
        }
        table.add_row(vec![Cell::new(&peer.name), Cell::new(&peer.about), cell, Cell::new(lacks.join("\n"))]);
        rows.push(json!({
            "name": peer.name,
            "about": peer.about,
            "state": state.label(),
            "directory": peer.into.display().to_string(),
            "lacks": lacks,
        }));
    }
    match format {
        RogueFormat::Table => console::say(table),
        RogueFormat::Json => console::say(serde_json::to_string_pretty(&rows)?),
    }
    Ok(AS_EXPECTED)
}
