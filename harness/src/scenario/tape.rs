//! A tape of what one device is given in a scenario, for a recorded vector.

use e2esm_adapter::{
    Call, Delivery, DeliveryKind, DeviceId, Error, Message, MlsStart, OlmStart, Packet, PacketKind, SignalStart, Start,
};

/// What one device was given, in order, and the private keys of what it had published.
#[derive(Clone, Debug)]
pub struct Tape {
    /// Which device, by its name in the vector.
    pub device: DeviceId,
    /// The private keys of everything that it published; `None` if it published nothing.
    pub start: Option<Start>,
    /// What it was given.
    pub heard: Vec<Heard>,
    /// What it did by itself that changes a group: a passive device does nothing of the kind.
    pub acts: Vec<&'static str>,
}

/// A packet that a taped device was given.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The named step from which it stems.
    pub name: Option<String>,
    /// What for.
    pub kind: PacketKind,
    /// Who sent it, as the server labels it.
    pub label: DeviceId,
    /// What of it a passive device is given: the library's own bytes.
    pub deliveries: Vec<Delivery>,
    /// The message read, nothing, or the refusal.
    pub result: Result<Option<Message>, Error>,
}

impl Tape {
    pub(super) fn new(device: &DeviceId) -> Self {
        Self { device: device.clone(), start: None, heard: Vec::new(), acts: Vec::new() }
    }

    pub(super) fn acted(&mut self, call: &Call) {
        let changes = matches!(call, Call::CreateGroup { .. } | Call::Change { .. } | Call::ExternalJoin { .. });
        if changes && !self.acts.contains(&call.verb()) {
            self.acts.push(call.verb());
        }
    }

    /// What has been published by now and not been used. What was used meanwhile is still among the keys.
    pub(super) fn published(&mut self, now: Start) {
        self.start = Some(match self.start.take() {
            Some(before) => united(before, now),
            None => now,
        });
    }

    pub(super) fn heard(
        &mut self,
        name: Option<String>,
        packet: &Packet,
        deliveries: Option<Vec<Delivery>>,
        result: Result<Option<Message>, Error>,
    ) {
        // Without a transcript of its own the packet is the library's: MLS.
        let deliveries = deliveries.unwrap_or_else(|| {
            let (kind, bytes) = (DeliveryKind::MlsMessage, packet.bytes.clone());
            vec![Delivery { kind, from: None, bytes, ratchet_tree: None }]
        });
        self.heard.push(Heard { name, kind: packet.kind, label: packet.from.clone(), deliveries, result });
    }
}

fn united(before: Start, now: Start) -> Start {
    fn both<T: Ord>(mut before: Vec<T>, now: Vec<T>) -> Vec<T> {
        before.extend(now);
        before.sort();
        before.dedup();
        before
    }
    match (before, now) {
        (Start::Mls(before), Start::Mls(now)) => {
            let key_packages = both(before.key_packages, now.key_packages);
            Start::Mls(MlsStart { key_packages, ..now })
        }
        (Start::Signal(before), Start::Signal(now)) => Start::Signal(SignalStart {
            one_time_prekeys: both(before.one_time_prekeys, now.one_time_prekeys),
            signed_prekeys: both(before.signed_prekeys, now.signed_prekeys),
            kyber_prekeys: both(before.kyber_prekeys, now.kyber_prekeys),
            ..now
        }),
        (Start::Olm(before), Start::Olm(now)) => {
            let one_time_keys = both(before.one_time_keys, now.one_time_keys);
            Start::Olm(OlmStart { one_time_keys, ..now })
        }
        (_, now) => now,
    }
}
