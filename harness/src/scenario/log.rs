//! What happened, step by step: the evidence behind the checks, and the story that `e2esm explain` tells.

use e2esm_adapter::{Address, Bytes, DeviceId, Error, Event, Message, PacketKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A step of the vector begins.
    Step(usize),
    /// A device was asked to do something (other than to receive).
    Called {
        /// Which device, by its name in the vector.
        device: DeviceId,
        /// What.
        verb: &'static str,
        /// What other devices have made and the call hands over.
        given: Vec<Given>,
        /// What came of it.
        error: Option<Error>,
    },
    /// A device noticed something.
    Noticed {
        /// Which device, by its name in the vector.
        device: DeviceId,
        /// What.
        event: Event,
    },
    /// A device gave a packet to the server.
    Sent {
        /// Which device, by its name in the vector.
        device: DeviceId,
        /// What for.
        kind: PacketKind,
        /// To whom.
        to: Address,
        /// How long.
        bytes: usize,
    },
    /// The server kept a packet back.
    Withheld {
        /// From which device, by its name in the vector.
        from: DeviceId,
        /// What for.
        kind: PacketKind,
    },
    /// The server handed a packet over.
    Delivered(Delivery),
    /// The server did something of its own.
    Server(String),
}

/// Bytes that another device has made.
#[derive(Clone, Debug)]
pub struct Given {
    /// What they are.
    pub matter: Matter,
    /// Who has made them, by its name in the vector where it has one.
    pub from: DeviceId,
    /// The bytes.
    pub bytes: Bytes,
}

/// What bytes of another device's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// A packet.
    Packet(PacketKind),
    /// A bundle of prekeys or a KeyPackage, from the directory.
    Bundle,
    /// A GroupInfo (RFC 9420, section 12.4.3), with which somebody joins by their own act.
    GroupInfo,
}

impl Matter {
    /// The name used in texts.
    pub fn label(self) -> &'static str {
        match self {
            Self::Packet(kind) => kind.label(),
            Self::Bundle => "bundle",
            Self::GroupInfo => "group information",
        }
    }
}

/// A packet handed to a device, and what the device made of it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The named step from which the packet stems.
    pub name: Option<String>,
    /// What for.
    pub kind: PacketKind,
    /// The sender as the server labels it.
    pub label: DeviceId,
    /// To which device, by its name in the vector.
    pub to: DeviceId,
    /// Whether the device's user is on the server's side and merely tries its luck.
    pub tapped: bool,
    /// The packet's bytes; none where a message came without a packet.
    pub bytes: Bytes,
    /// The message read, nothing, or the refusal.
    pub result: Result<Option<Message>, Error>,
}

/// Everything that happened, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The entries.
    pub entries: Vec<Entry>,
}

impl Log {
    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The deliveries, in order.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Delivered(delivery) => Some(delivery),
            _ => None,
        })
    }

    /// What devices noticed, in order.
    pub fn noticed(&self) -> impl Iterator<Item = (&DeviceId, &Event)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Noticed { device, event } => Some((device, event)),
            _ => None,
        })
    }
}
