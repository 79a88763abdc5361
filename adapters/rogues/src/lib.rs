//! Deliberately flawed implementations, and sound but unusual ones.
//!
//! The suite runs itself against them: a flawed one that no scenario catches is a *missed flaw*, a sound one that fails is a
//! *wrong accusation*. Each is a thin wrapper over a sound adapter with exactly one flaw (which may silence more than one
//! question: who takes any device asks neither for its key nor for its admission), with a precedent or a named class of bug. It sees packets and calls, never vector ids, user names or step numbers.
//!
//! Attackers in a scenario run the same implementation as their victims, and they know its flaw: where the library's own
//! formats leave no room for it, a rogue's `craft` makes the packet that exploits it.

pub mod burden;
mod device;
mod escrow;
mod events;
mod exploits;
mod groups;
mod history;
mod never_asks;
pub mod passive;
mod process;
mod reading;
mod sound;

use e2esm_adapter::Adapter;

pub use device::Flaw;
use device::RogueAdapter;

/// One deliberately flawed, or sound but unusual, implementation.
#[derive(Clone, Copy)]
pub struct Rogue {
    /// Its name.
    pub name: &'static str,
    /// The built-in adapter that it wraps.
    pub base: &'static str,
    /// What is wrong with it, or unusual.
    pub what: &'static str,
    /// Where that was seen, or the class of bug.
    pub precedent: &'static str,
    /// Whether it is sound: then nothing may accuse it.
    pub sound: bool,
    /// Vectors that must catch it, if it is flawed.
    pub caught_by: &'static [&'static str],
    /// The only vectors that it is run with, where it would merely cost time in all of them; all if empty.
    pub only: &'static [&'static str],
    make: fn() -> Box<dyn Flaw>,
}

impl Rogue {
    /// This rogue over its base.
    pub fn over(&self, base: Box<dyn Adapter>) -> Box<dyn Adapter> {
        Box::new(RogueAdapter::new(self.name, base, self.make))
    }
}

/// Those that only receive, for the recorded vectors: flawed ones first.
pub fn passive_rogues() -> Vec<passive::PassiveRogue> {
    passive::ROGUES.to_vec()
}

/// All of them: flawed ones first.
pub fn rogues() -> Vec<Rogue> {
    [
        never_asks::ROGUES,
        groups::ROGUES,
        events::ROGUES,
        history::ROGUES,
        exploits::ROGUES,
        escrow::ROGUES,
        reading::ROGUES,
        process::ROGUES,
        sound::ROGUES,
    ]
    .concat()
}
