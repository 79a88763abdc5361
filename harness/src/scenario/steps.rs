//! What each step of the vocabulary does to the world.

use e2esm_adapter::{Answer, Bytes, Call, Capability, DeviceId, Error, Fault, Forged, Forgery, GroupId, PacketKind};
use sha2::{Digest, Sha256};

use crate::vector::{GroupInfoSource, RacingChange, Step};

use super::log::Entry;
use super::server::{Mail, Tampering};
use super::world::{Membership, Said, Trouble, World, is_unsupported, odd};

impl World<'_> {
    pub(super) fn take(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::CreateGroup { by, group, with, .. } => self.create_group(by, group, with),
            Step::Add { by, group, who, .. } => self.changed(by, group, who, &[], false),
            Step::Remove { by, group, who, .. } => self.changed(by, group, &[], who, false),
            Step::Refresh { by, group, .. } => self.changed(by, group, &[], &[], true),
            Step::Race { group, changes } => self.race(group, changes),
            Step::Send { by, group, message, quotes } => {
                let text = self.say(by, group, message, quotes.as_deref());
                self.send(by, group, text)
            }
            Step::Withhold { to, kinds } => {
                to.iter().for_each(|handle| self.server.withhold(handle, kinds));
                Ok(())
            }
            Step::Deliver { to, reversed } => self.deliver(to, *reversed),
            Step::Replay { of, to, name } => self.replay(of, to, name),
            Step::Tamper { from, to, alter, name } => {
                self.server.tampering.push(Tampering {
                    from: from.clone(),
                    to: to.clone(),
                    alter: alter.clone(),
                    name: name.clone(),
                });
                Ok(())
            }
            Step::StopTampering {} => {
                self.server.tampering.clear();
                Ok(())
            }
            Step::ForgeMessage { by, group, claim, message } => {
                let plaintext = self.say(by, group, message, None);
                self.forge(by, Forgery::Message { group: self.known(group), claim: claim.clone(), plaintext })
            }
            Step::ForgeKeyDistribution { by, group, claim, message } => self.forge_key(by, group, claim, message),
            Step::InjectMember { by, group, claim, .. } => {
                let bundle = self.publish(by, claim)?;
                let group = self.known(group);
                self.forge(by, Forgery::Change { group, claim: claim.clone(), add: vec![bundle], remove: Vec::new() })
            }
            Step::ForgeRemoval { by, group, claim, who, .. } => {
                let group = self.known(group);
                let remove = vec![who.clone()];
                self.forge(by, Forgery::Change { group, claim: claim.clone(), add: Vec::new(), remove })
            }
            Step::UninvitedJoin { by, group, .. } => {
                self.forge(by, Forgery::UninvitedJoin { group: self.known(group) })
            }
            Step::SwapIdentity { device, by } => {
                self.server.register(device, by);
                Ok(())
            }
            Step::RestoreIdentity { device } => {
                self.server.register(device, device);
                Ok(())
            }
            Step::Reregistered { device, to, .. } => self.reregistered(device, to),
            Step::BreakBundle { device, by } => {
                self.server.broken.insert(device.clone(), by.clone());
                Ok(())
            }
            Step::LinkDevice { device, by } => self.link(device, by),
            Step::ListDevice { device, to } => self.list_device(device, to),
            Step::RevokeDevice { device, by } => {
                let id = self.id(device);
                if let Some(list) = self.seats.get_mut(by).and_then(|seat| seat.app.unlist_device(&id)) {
                    self.server.publish_list(list);
                }
                Ok(())
            }
            Step::StealState { from, by } => {
                let state = match self.call(from, Call::ExportState {})? {
                    Answer::Bytes(state) => state,
                    other => return Err(odd("a state", &other)),
                };
                self.restore(by, from, state)
            }
            Step::PublishLink { group, .. } => {
                // A member tells the others; how a link is authenticated is not what is tested here.
                for member in self.server.members(group) {
                    if let Some(seat) = self.server.handle_of(&member).and_then(|handle| self.seats.get_mut(&handle)) {
                        seat.app.link_published(group);
                    }
                }
                Ok(())
            }
            Step::ExternalJoin { by, group, info, .. } => self.external_join(by, group, *info),
            Step::AskResend { to, message, device, .. } => self.ask_resend(to, message, device),
            Step::ShareHistory { by, group, to, .. } => {
                let output = self.output(by, Call::ShareHistory { group: group.clone(), to: to.clone() })?;
                self.route(by, output.packets, Membership::default())
            }
            Step::RequestKeys { by, group, from, .. } => {
                let output = self.output(by, Call::RequestKeys { group: group.clone(), holder: from.clone() })?;
                self.route(by, output.packets, Membership::default())
            }
            Step::Verify { by, peer } => self.verify(by, peer),
            Step::Misbehave { by, fault } => {
                match self.call(by, Call::Misbehave { fault: fault.clone() }) {
                    // Back to honesty is where a device that can only be honest already is.
                    Err(trouble) if *fault == Fault::None && is_unsupported(&trouble) => Ok(()),
                    other => other.map(drop),
                }
            }
            // Checks are evaluated where their outcome is kept.
            Step::Expect(_) => Ok(()),
        }
    }

    /// The text of a message: its name, something that nobody can guess, and what it quotes.
    fn say(&mut self, by: &DeviceId, group: &GroupId, message: &str, quotes: Option<&str>) -> Bytes {
        let secret = Sha256::digest(format!("{} {} {message}", self.seed, self.vector.id));
        let mut text = format!("{message} {}", hex::encode(&secret[..16]));
        if let Some(said) = quotes.and_then(|name| self.said.get(name)) {
            text.push_str(" > ");
            text.push_str(&String::from_utf8_lossy(said.text.as_ref()));
        }
        let text = Bytes(text.into_bytes());
        let said = Said { text: text.clone(), by: self.id(by), group: group.clone() };
        self.said.insert(message.to_owned(), said);
        text
    }

    fn create_group(&mut self, by: &DeviceId, group: &GroupId, with: &[DeviceId]) -> Result<(), Trouble> {
        let output = self.output(by, Call::CreateGroup { group: group.clone() })?;
        self.server.create_group(group, &self.id(by));
        self.route(by, output.packets, Membership::default())?;
        if with.is_empty() { Ok(()) } else { self.changed(by, group, with, &[], false) }
    }

    fn changed(
        &mut self,
        by: &DeviceId,
        group: &GroupId,
        add: &[DeviceId],
        remove: &[DeviceId],
        refresh: bool,
    ) -> Result<(), Trouble> {
        let output = self.change(by, group, add, remove, refresh)?;
        let membership = Membership { group: Some(group.clone()), add: add.to_vec(), remove: remove.to_vec() };
        self.route(by, output.packets, membership)
    }

    fn race(&mut self, group: &GroupId, changes: &[RacingChange]) -> Result<(), Trouble> {
        let mut outputs = Vec::new();
        for change in changes {
            outputs.push((change, self.change(&change.by, group, &[], &change.remove, false)?));
        }
        let mut first = true;
        for (change, output) in outputs {
            let mut membership = Membership::default();
            let mut packets = output.packets;
            if first {
                membership = Membership { group: Some(group.clone()), remove: change.remove.clone(), ..membership };
            } else {
                // Too late: the members are shown the change all the same, but nobody is let in or out by it.
                packets.retain(|packet| packet.kind == PacketKind::Change);
            }
            self.route(&change.by, packets, membership)?;
            first = false;
        }
        Ok(())
    }

    fn deliver(&mut self, to: &[DeviceId], reversed: bool) -> Result<(), Trouble> {
        for handle in to {
            let mut mails = self.server.release(handle);
            if reversed {
                mails.reverse();
            }
            for mail in mails {
                self.redeliver(handle, mail)?;
            }
        }
        Ok(())
    }

    fn replay(&mut self, of: &str, to: &[DeviceId], name: &str) -> Result<(), Trouble> {
        for packet in self.server.stored(of) {
            for handle in to {
                self.redeliver(handle, Mail { name: Some(name.to_owned()), packet: packet.clone() })?;
            }
        }
        Ok(())
    }

    fn forge(&mut self, by: &DeviceId, forgery: Forgery) -> Result<(), Trouble> {
        match self.craft(by, forgery)? {
            Forged::Packets(packets) => self.route(by, packets, Membership::default()),
            Forged::Bundle(_) => Err(odd("packets", &"a bundle")),
        }
    }

    fn forge_key(&mut self, by: &DeviceId, group: &GroupId, claim: &DeviceId, message: &str) -> Result<(), Trouble> {
        let mut victims = Vec::new();
        for member in self.server.members(group) {
            if member != *claim {
                victims.push(self.claim(&member, by)?);
            }
        }
        let plaintext = self.say(by, group, message, None);
        let group = self.known(group);
        self.forge(by, Forgery::KeyDistribution { group, claim: claim.clone(), victims, plaintext })
    }

    fn reregistered(&mut self, device: &DeviceId, to: &[DeviceId]) -> Result<(), Trouble> {
        // Without pairwise sessions there is nothing that such a notice could renew.
        if !self.supports(Capability::PairwiseSessions) {
            return Ok(());
        }
        for handle in to {
            match self.introduce(handle, device) {
                Ok(()) | Err(Trouble::Refused(..)) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    fn link(&mut self, device: &DeviceId, by: &DeviceId) -> Result<(), Trouble> {
        let request = match self.call(device, Call::LinkRequest {})? {
            Answer::LinkRequest(request) => request,
            other => return Err(odd("a link request", &other)),
        };
        let authorisation = match self.call(by, Call::Authorise { request })? {
            Answer::Authorisation(authorisation) => authorisation,
            other => return Err(odd("an authorisation", &other)),
        };
        self.call(device, Call::AcceptAuthorisation { authorisation })?;
        let identity = match self.call(device, Call::Identity {})? {
            Answer::Identity(identity) => identity,
            other => return Err(odd("an identity", &other)),
        };
        let id = self.id(device);
        let Some(seat) = self.seats.get_mut(device) else { return Ok(()) };
        seat.identity = identity.clone();
        let listed = seat.app.listed_as(&identity);
        let own = self.id(by).user == id.user;
        let like = self.server.lists_of(&id.user).into_iter().next();
        let Some(seat) = self.seats.get_mut(by) else { return Ok(()) };
        let list = match like {
            _ if own => seat.app.list_device(&id, listed),
            Some(like) => seat.app.list_foreign_device(&id, listed, &like),
            None => None,
        };
        let existing = seat.app.clone();
        if let Some(list) = list {
            self.server.publish_list(list);
        }
        if let Some(seat) = self.seats.get_mut(device)
            && own
        {
            seat.app.link_to(&existing);
        }
        // From now on the directory serves the new device under the id that it claims.
        self.server.register(&id, device);
        Ok(())
    }

    fn list_device(&mut self, device: &DeviceId, to: &[DeviceId]) -> Result<(), Trouble> {
        let id = self.id(device);
        self.server.register(&id, device);
        self.log.push(Entry::Server(format!("the server lists {id} (in truth {device})")));
        for handle in to {
            let packet = self.device_list_packet(device, handle)?;
            self.redeliver(handle, Mail { name: None, packet })?;
        }
        Ok(())
    }

    fn external_join(&mut self, by: &DeviceId, group: &GroupId, source: GroupInfoSource) -> Result<(), Trouble> {
        let member = self
            .server
            .members(group)
            .into_iter()
            .find_map(|member| self.server.handle_of(&member))
            .ok_or_else(|| Error::bad_request(format!("nobody is in {group}")))?;
        let info = match self.call(&member, Call::GroupInfo { group: group.clone() })? {
            Answer::Bytes(info) => info,
            other => return Err(odd("group information", &other)),
        };
        let how = match source {
            GroupInfoSource::Published => "published",
            GroupInfoSource::Leaked => "leaked",
        };
        self.log.push(Entry::Server(format!("{by} holds the {how} information about {group}")));
        let output = self.output(by, Call::ExternalJoin { group_info: info })?;
        let membership = Membership { group: Some(group.clone()), add: vec![self.id(by)], remove: Vec::new() };
        self.route(by, output.packets, membership)
    }

    fn ask_resend(&mut self, to: &DeviceId, message: &str, device: &DeviceId) -> Result<(), Trouble> {
        let Some(said) = self.said.get(message) else {
            return Err(Error::bad_request(format!("nobody has said {message}")).into());
        };
        let (plaintext, group) = (said.text.clone(), said.group.clone());
        let acknowledged = self.readers(message).iter().any(|(reader, _)| reader == device);
        let bundle = self.claim(device, to)?;
        let output = self.output(to, Call::Resend { group, plaintext, bundle, acknowledged })?;
        self.route(to, output.packets, Membership::default())
    }

    fn verify(&mut self, by: &DeviceId, peer: &DeviceId) -> Result<(), Trouble> {
        let Some(other) = self.seats.get(peer) else { return Ok(()) };
        let (app, identity) = (other.app.clone(), other.identity.clone());
        if let Some(seat) = self.seats.get_mut(by) {
            seat.app.verify(&app, &identity);
        }
        Ok(())
    }
}
