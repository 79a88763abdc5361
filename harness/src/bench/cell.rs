//! The vocabulary of benchmarks: operations, group states, actors, and the cell, which is one of each with an
//! implementation and a size. `benches/MODELS.md` says what each operation means for each family of protocols.

use std::fmt;
use std::str::FromStr;

use e2esm_adapter::{DeviceId, GroupId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Defines an enum whose variants have one name each, in JSON, on the command line and in the tables.
macro_rules! named {
    ($(#[$outer:meta])* $name:ident: $($(#[$inner:meta])* $variant:ident = $label:literal,)+) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $($(#[$inner])* #[serde(rename = $label)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of the documents.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used in JSON, on the command line and in the tables.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.label())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|known| known.label() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|known| known.label()).collect();
                    format!("`{text}` is none of {}", known.join(", "))
                })
            }
        }
    };
}

named! {
    /// What is measured.
    Operation:
    /// Create a group and add everybody else in one change.
    Create = "create",
    /// Add 1 member.
    Add1 = "add-1",
    /// Add 10 members in one change.
    Add10 = "add-10",
    /// Add 100 members in one change.
    Add100 = "add-100",
    /// Add 1,000 members in one change.
    Add1000 = "add-1000",
    /// Remove 1 member.
    Remove1 = "remove-1",
    /// Remove 10 members in one change.
    Remove10 = "remove-10",
    /// Remove 100 members in one change.
    Remove100 = "remove-100",
    /// Replace the actor's own keys.
    Update = "update",
    /// Another member takes an add of 1.
    ProcessAdd1 = "process-add-1",
    /// Another member takes an add of 100.
    ProcessAdd100 = "process-add-100",
    /// Another member takes a removal of 1.
    ProcessRemove1 = "process-remove-1",
    /// Another member takes an update.
    ProcessUpdate = "process-update",
    /// Another member takes an external commit.
    ProcessExternalCommit = "process-external-commit",
    /// A newcomer joins, with everything that it needs in what it is sent.
    Join = "join",
    /// A newcomer joins by a Welcome without the tree, which it has from elsewhere.
    JoinOutOfBand = "join-out-of-band",
    /// A device joins by its own act, with public group information.
    ExternalCommit = "external-commit",
    /// The actor's first message in this epoch, or with a sender key that nobody has.
    FirstSend = "first-send",
    /// A later message.
    Send = "send",
    /// Another member reads the actor's first message.
    FirstReceive = "first-receive",
    /// Another member reads a later message.
    Receive = "receive",
    /// The actor stores its state.
    Store = "store",
    /// The actor is made again from its stored state.
    Load = "load",
}

named! {
    /// How a group came to be what it is. For the MLS states see `benches/forge/README.md`; groups without a tree are
    /// always `flat`.
    GroupState:
    /// The creator added everybody, without a path: every parent node is blank.
    Flat = "flat",
    /// After that the creator replaced its keys: the parents above leaf 0 are set, all others blank.
    CreatorPath = "creator-path",
    /// Everybody has committed: every parent is set.
    Full = "full",
    /// Like `full`, after which a tenth of the members were replaced in one commit.
    Churn10 = "churn10",
    /// Members came in waves that doubled the group; of each wave one has committed since.
    Staircase = "staircase",
}

named! {
    /// Which member acts: the one at this leaf.
    Actor:
    /// Leaf 0.
    First = "first",
    /// Leaf N / 2.
    Middle = "middle",
    /// Leaf N - 1.
    Last = "last",
}

impl Operation {
    /// How many members it adds or removes besides the actor's own doing.
    pub fn count(self) -> usize {
        match self {
            Self::Add1 | Self::Remove1 | Self::ProcessAdd1 | Self::ProcessRemove1 => 1,
            Self::Add10 | Self::Remove10 => 10,
            Self::Add100 | Self::Remove100 | Self::ProcessAdd100 => 100,
            Self::Add1000 => 1000,
            _ => 0,
        }
    }

    /// Whether it takes somebody out of the group.
    pub fn removes(self) -> bool {
        matches!(self, Self::Remove1 | Self::Remove10 | Self::Remove100 | Self::ProcessRemove1)
    }
}

impl Actor {
    /// Its leaf in a group of `size`.
    pub fn leaf(self, size: u32) -> u32 {
        match self {
            Self::First => 0,
            Self::Middle => size / 2,
            Self::Last => size.saturating_sub(1),
        }
    }

    /// The leaf of the other live member, who checks: the last one, or the first where the actor is not the first.
    pub fn observer_leaf(self, size: u32) -> u32 {
        if self.leaf(size) == 0 { size.saturating_sub(1) } else { 0 }
    }
}

/// The member at a leaf, by name.
pub fn member(leaf: u32) -> DeviceId {
    DeviceId::new(&format!("m{leaf}"), "d")
}

/// The one group that is benched. The length of its id is in every MLS message.
pub fn group() -> GroupId {
    GroupId("bench".to_owned())
}

/// What a member starts from: a group in a state, of a size, with the actor at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The adapter's name.
    pub adapter: String,
    /// How the group came about.
    pub state: GroupState,
    /// How many members it has, the live ones included.
    pub size: u32,
    /// Who acts.
    pub actor: Actor,
}

/// One thing to measure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What is done.
    pub operation: Operation,
    /// In which group.
    pub setting: Setting,
    /// Threads of every pool, the library's own included.
    pub threads: usize,
}

impl Cell {
    /// `operation/implementation/state/N`; an actor that is not the first, or more than one thread, is added to the
    /// state: `update/openmls-rustcrypto/full+last/128`, `join/mls-rs-awslc/flat+2t/1024`.
    pub fn id(&self) -> String {
        let Self { operation, setting: Setting { adapter, state, size, actor }, threads } = self;
        let mut id = format!("{operation}/{adapter}/{state}");
        if *actor != Actor::First {
            id.push_str(&format!("+{actor}"));
        }
        if *threads != 1 {
            id.push_str(&format!("+{threads}t"));
        }
        format!("{id}/{size}")
    }

    /// Why there is no such cell, if there is none. `group_object`: whether the adapter's library has groups of its own
    /// (MLS), and with them trees.
    pub fn impossible(&self, group_object: bool) -> Option<String> {
        let Self { operation, setting: Setting { state, size, actor, .. }, .. } = self;
        let tree_only = matches!(
            operation,
            Operation::JoinOutOfBand | Operation::ExternalCommit | Operation::ProcessExternalCommit
        );
        let taken = u32::try_from(operation.count()).unwrap_or(u32::MAX);
        if *size < 2 {
            Some("a group of fewer than two has nobody to check the answer".to_owned())
        } else if !group_object && (*state != GroupState::Flat || *actor != Actor::First) {
            Some("without a tree there is one state and one actor".to_owned())
        } else if !group_object && tree_only {
            Some("there is neither a tree nor public group information".to_owned())
        } else if operation.removes() && taken + 2 > *size {
            Some(format!("two members stay, so {taken} of {size} cannot be removed"))
        } else if *operation == Operation::Create && (*state != GroupState::Flat || *actor != Actor::First) {
            Some("a group that is being created is in no state yet".to_owned())
        } else if *size == 2 && !matches!(state, GroupState::Flat | GroupState::CreatorPath) {
            Some("a tree of two leaves has one parent: see `creator-path`".to_owned())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(operation: Operation, state: GroupState, size: u32, actor: Actor, threads: usize) -> Cell {
        Cell { operation, setting: Setting { adapter: "x".to_owned(), state, size, actor }, threads }
    }

    #[test]
    fn ids_are_operation_implementation_state_and_size() {
        let plain = cell(Operation::ProcessAdd1, GroupState::CreatorPath, 9, Actor::First, 1);
        assert_eq!(plain.id(), "process-add-1/x/creator-path/9");
        assert_eq!(cell(Operation::Join, GroupState::Full, 8, Actor::Last, 2).id(), "join/x/full+last+2t/8");
    }

    #[test]
    fn names_are_read_back_and_wrong_ones_list_the_right_ones() {
        for operation in Operation::ALL {
            assert_eq!(operation.label().parse(), Ok(*operation));
        }
        let error = "fast".parse::<GroupState>().expect_err("no such state");
        assert_eq!(error, "`fast` is none of flat, creator-path, full, churn10, staircase");
    }

    #[test]
    fn what_cannot_be_is_said_why() {
        let flat = |operation, size| cell(operation, GroupState::Flat, size, Actor::First, 1);
        assert!(flat(Operation::Remove1, 2).impossible(true).is_some());
        assert!(flat(Operation::Remove1, 3).impossible(true).is_none());
        assert!(flat(Operation::Join, 2).impossible(false).is_none());
        assert!(flat(Operation::ExternalCommit, 2).impossible(false).is_some());
        assert!(cell(Operation::Send, GroupState::Full, 8, Actor::First, 1).impossible(false).is_some());
        assert!(cell(Operation::Create, GroupState::Full, 8, Actor::First, 1).impossible(true).is_some());
    }
}
