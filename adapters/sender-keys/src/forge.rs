//! What an outsider crafts out of its own keys and what the server knows.

use std::collections::BTreeSet;

use e2esm_adapter::{Address, Bundle, Bytes, DeviceId, Error, Forged, KnownGroup, Packet, PacketKind};

use crate::device::{GroupDevice, plain};
use crate::primitives::{Primitives, Sealed};
use crate::wire::{Body, Invitation, RosterChange, to_json};

impl<P: Primitives> GroupDevice<P> {
    /// A message under a sender key that nobody holds.
    pub(crate) fn forge_message(
        &mut self,
        group: &KnownGroup,
        claim: &DeviceId,
        plaintext: &Bytes,
    ) -> Result<Forged, Error> {
        self.forged_key(group)?;
        Ok(Forged::Packets(vec![self.forged_message(group, claim, plaintext)?]))
    }

    /// A sender key for each victim, and a message under it.
    pub(crate) fn forge_key_distribution(
        &mut self,
        group: &KnownGroup,
        claim: &DeviceId,
        victims: &[Bundle],
        plaintext: &Bytes,
    ) -> Result<Forged, Error> {
        self.forged_key(group)?;
        let key = self.primitives.distribution(&group.id)?;
        let mut packets = self.introducing(victims, |this| {
            let seal = |victim: &Bundle| {
                let body = Body::SenderKey(key.clone());
                let packet = this.seal(PacketKind::KeyDistribution, &group.id, &victim.device, body)?;
                Ok(Packet { from: claim.clone(), ..packet })
            };
            victims.iter().map(seal).collect::<Result<Vec<_>, Error>>()
        })?;
        packets.push(self.forged_message(group, claim, plaintext)?);
        Ok(Forged::Packets(packets))
    }

    /// A change, and the invitations that let those slipped in take part: a ghost that has no roster could not even
    /// try.
    pub(crate) fn forge_change(
        &mut self,
        group: &KnownGroup,
        claim: &DeviceId,
        add: &[Bundle],
        remove: &[DeviceId],
    ) -> Result<Forged, Error> {
        let add: Vec<_> = add.iter().map(|bundle| bundle.device.clone()).collect();
        let mut members: BTreeSet<_> =
            group.members.iter().filter(|member| !remove.contains(member)).cloned().collect();
        members.extend(add.iter().cloned());
        let change = to_json(&RosterChange { add: add.clone(), remove: remove.to_vec() })?;
        let invitation = to_json(&Invitation { members })?;
        let to_group = Address::Group(group.id.clone());
        let mut packets = vec![forged(PacketKind::Change, group, claim, to_group, plain(change))];
        if !add.is_empty() {
            packets.push(forged(PacketKind::Welcome, group, claim, Address::devices(add), plain(invitation)));
        }
        Ok(Forged::Packets(packets))
    }

    /// A new sender key, never to be used in earnest if this device is (or was) a member itself.
    fn forged_key(&mut self, group: &KnownGroup) -> Result<(), Error> {
        self.primitives.new_sender_key(&group.id)?;
        if let Some(group) = self.groups.get_mut(&group.id) {
            group.retire_key();
        }
        Ok(())
    }

    fn forged_message(&mut self, group: &KnownGroup, claim: &DeviceId, plaintext: &Bytes) -> Result<Packet, Error> {
        let bytes = self.primitives.group_encrypt(&group.id, plaintext.as_ref())?;
        Ok(forged(PacketKind::Message, group, claim, Address::Group(group.id.clone()), plain(bytes)))
    }
}

fn forged(kind: PacketKind, group: &KnownGroup, claim: &DeviceId, to: Address, sealed: Sealed) -> Packet {
    let Sealed { opens_session, bytes } = sealed;
    Packet { kind, group: group.id.clone(), from: claim.clone(), to, opens_session, bytes, seal: None }
}
