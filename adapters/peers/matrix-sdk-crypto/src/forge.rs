//! What an outsider crafts out of its own keys and what the homeserver knows.

use std::collections::BTreeSet;

use e2esm_adapter::{Address, Bundle, Bytes, DeviceId, Error, Forged, KnownGroup, Packet, PacketKind};
use matrix_sdk_crypto::vodozemac::{base64_decode, base64_encode, olm::PreKeyMessage};
use serde_json::{Value, json};

use crate::adapter::Configuration;
use crate::client::Client;
use crate::device::Matrix;
use crate::error::refused;
use crate::names;
use crate::wire::{Card, Invitation, Published, RoomEvent, RosterChange, ToDevice, from_json, to_json};

impl Matrix {
    /// A message under a room key that nobody else holds.
    pub(crate) fn forge_message(&self, group: &KnownGroup, claim: &DeviceId, text: &Bytes) -> Result<Forged, Error> {
        let (client, _) = self.impostor(claim)?;
        let room = names::room(&group.id)?;
        client.share(&room, &BTreeSet::from([client.user().to_owned()])).map_err(refused)?;
        Ok(Forged::Packets(vec![forged_message(&client, group, claim, text)?]))
    }

    /// A room key for each victim, and a message under it.
    pub(crate) fn forge_key_distribution(
        &self,
        group: &KnownGroup,
        claim: &DeviceId,
        victims: &[Bundle],
        text: &Bytes,
    ) -> Result<Forged, Error> {
        let (mut client, card) = self.impostor(claim)?;
        let mut users = BTreeSet::new();
        for victim in victims {
            let published: Published = from_json(victim.bytes.as_ref(), "bundle")?;
            client.learn(&published.card, false)?;
            client.claim(&published)?;
            users.insert(names::user(&victim.device.user)?);
        }
        let mut packets = Vec::new();
        for outgoing in client.share(&names::room(&group.id)?, &users).map_err(refused)? {
            let mut event = client.packed(&outgoing, None);
            event.card = event.card.map(|_| card.clone());
            let to = Address::Device(names::device_of(&outgoing.user, &outgoing.device));
            let opens = event.opens_session();
            packets.push(forged(PacketKind::KeyDistribution, group, claim, to, opens, to_json(&event)?));
        }
        packets.push(forged_message(&client, group, claim, text)?);
        Ok(Forged::Packets(packets))
    }

    /// A change that no member made, and the invitation that lets those slipped in take part.
    pub(crate) fn forge_change(
        group: &KnownGroup,
        claim: &DeviceId,
        add: &[Bundle],
        remove: &[DeviceId],
    ) -> Result<Forged, Error> {
        let add: Vec<_> = add.iter().map(|bundle| bundle.device.clone()).collect();
        let stay = group.members.iter().filter(|member| !remove.contains(member));
        let members = stay.chain(&add).cloned().collect();
        let change = to_json(&RosterChange { add: add.clone(), remove: remove.to_vec() })?;
        let to_group = Address::Group(group.id.clone());
        let mut packets = vec![forged(PacketKind::Change, group, claim, to_group, false, change)];
        if !add.is_empty() {
            let invitation = to_json(&Invitation { members })?;
            packets.push(forged(PacketKind::Welcome, group, claim, Address::devices(add), false, invitation));
        }
        Ok(Forged::Packets(packets))
    }

    /// The bundle with the signature of its one-time key broken.
    pub(crate) fn break_bundle(bundle: &Bundle) -> Result<Forged, Error> {
        let mut published: Published = from_json(bundle.bytes.as_ref(), "bundle")?;
        for signatures in published.one_time_key.key["signatures"].as_object_mut().into_iter().flatten() {
            for signature in signatures.1.as_object_mut().into_iter().flatten() {
                let text = signature.1.as_str().unwrap_or_default();
                let mut bytes = base64_decode(text).map_err(|error| Error::bad_request(error.to_string()))?;
                if let Some(first) = bytes.first_mut() {
                    *first ^= 1;
                }
                *signature.1 = Value::String(base64_encode(bytes));
            }
        }
        Ok(Forged::Bundle(Bundle { device: bundle.device.clone(), bytes: to_json(&published)? }))
    }

    /// Somebody's session-opening message with an impostor's identity key in it, and that impostor's card beside it.
    pub(crate) fn rewrite_identity(&self, packet: &Packet) -> Result<Forged, Error> {
        let mut event: ToDevice = from_json(packet.bytes.as_ref(), "to-device event")?;
        if !event.opens_session() {
            return Err(Error::bad_request("this packet opens no session"));
        }
        let (client, card) = self.impostor(&packet.from)?;
        let own = client.curve25519();
        for (_, ciphertext) in event.content["ciphertext"].as_object_mut().into_iter().flatten() {
            let body = ciphertext["body"].as_str().unwrap_or_default();
            let mut bytes = base64_decode(body).map_err(|error| Error::bad_request(error.to_string()))?;
            let message = PreKeyMessage::from_bytes(&bytes).map_err(|error| Error::bad_request(error.to_string()))?;
            let honest = message.identity_key().to_bytes();
            let at = bytes.windows(honest.len()).position(|window| window == honest);
            let at = at.ok_or_else(|| Error::internal("the identity key is not where it was read"))?;
            bytes[at..at + honest.len()].copy_from_slice(own.as_bytes());
            ciphertext["body"] = Value::String(base64_encode(bytes));
        }
        event.content["sender_key"] = json!(own.to_base64());
        event.card = Some(card);
        Ok(Forged::Packets(vec![Packet { bytes: to_json(&event)?, ..packet.clone() }]))
    }

    /// A client under somebody else's name, and what the homeserver shows of it: one more device beside the true cross-signing
    /// keys of that user, if any were seen, which is what gives least alarm; its own ones otherwise.
    fn impostor(&self, claim: &DeviceId) -> Result<(Client, Card), Error> {
        let client = Client::new(claim, Configuration::AllDevices)?;
        let mut card = client.card().clone();
        if let Some(seen) = self.seen(claim) {
            card.cross_signing = seen;
        }
        Ok((client, card))
    }
}

fn forged_message(client: &Client, group: &KnownGroup, claim: &DeviceId, text: &Bytes) -> Result<Packet, Error> {
    let content = client.encrypt(&names::room(&group.id)?, text.as_ref())?;
    let to = Address::Group(group.id.clone());
    Ok(forged(PacketKind::Message, group, claim, to, false, to_json(&RoomEvent { content })?))
}

fn forged(kind: PacketKind, group: &KnownGroup, claim: &DeviceId, to: Address, opens: bool, bytes: Bytes) -> Packet {
    Packet { kind, group: group.id.clone(), from: claim.clone(), to, opens_session: opens, bytes, seal: None }
}
