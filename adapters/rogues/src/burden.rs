//! Implementations that cost a little more than they should: with them the benchmarks' gate shows that it sees.
//!
//! A burden is sound. It changes no answer, only what the answer costs, each in one measure; all but the last, with which
//! they show that a wrong answer is no measurement.

use std::hint::black_box;

use e2esm_adapter::{
    Adapter, Address, Answer, Bytes, Call, Change, Description, Device, DeviceId, Error, GroupId, Notebook, Output,
    Packet, PacketKind, Primitive, Roster, metered,
};
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::types::Ciphersuite;
use serde::{Deserialize, Serialize};

/// What each change and each message costs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Burden {
    /// One more HPKE seal.
    Seal,
    /// One more packet of 100 bytes, to the server.
    Packet,
    /// One more allocation for each member.
    Allocation,
    /// That many more instructions, about.
    Instructions(u64),
    /// Not a burden but a wrong answer, which must void whatever was measured: messages have a bit flipped.
    WrongAnswer,
}

/// That adapter, burdened. `group`: the one whose members are counted.
pub fn burdened(base: Box<dyn Adapter>, burden: Burden, group: GroupId) -> Box<dyn Adapter> {
    Box::new(Burdened { base, burden, group })
}

struct Burdened {
    base: Box<dyn Adapter>,
    burden: Burden,
    group: GroupId,
}

impl Burdened {
    fn wrap(&self, mut device: Box<dyn Device>) -> Box<dyn Device> {
        // Counted here, because counting allocates too.
        let members = device.roster(&self.group).map_or(0, |roster| roster.members.len());
        Box::new(BurdenedDevice { device, burden: self.burden, members })
    }
}

impl Adapter for Burdened {
    fn describe(&self) -> Description {
        self.base.describe()
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        Ok(self.wrap(self.base.device(id)?))
    }

    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(self.wrap(self.base.load(id, store)?))
    }

    fn metered(&self) -> bool {
        self.base.metered()
    }
}

struct BurdenedDevice {
    device: Box<dyn Device>,
    burden: Burden,
    members: usize,
}

impl BurdenedDevice {
    fn bear(&mut self, group: &GroupId, output: &mut Output) -> Result<(), Error> {
        match self.burden {
            Burden::Seal => metered(Primitive::Seal, seal),
            Burden::Packet => {
                output.packets.push(Packet {
                    kind: PacketKind::Message,
                    group: group.clone(),
                    from: DeviceId::new("burden", "d"),
                    to: Address::Server,
                    opens_session: false,
                    bytes: Bytes(vec![0; 100]),
                    seal: None,
                });
                Ok(())
            }
            Burden::Allocation => {
                for _ in 0..self.members {
                    drop(black_box(Box::new(0_u64)));
                }
                Ok(())
            }
            Burden::WrongAnswer => {
                for packet in output.packets.iter_mut().filter(|packet| packet.kind == PacketKind::Message) {
                    if let Some(last) = packet.bytes.0.last_mut() {
                        *last ^= 1;
                    }
                }
                Ok(())
            }
            Burden::Instructions(count) => {
                // A multiplication, an addition and the loop itself: about four instructions a turn.
                let mut value = 1_u64;
                for turn in 0..count / 4 {
                    value = black_box(value.wrapping_mul(3).wrapping_add(turn));
                }
                Ok(())
            }
        }
    }
}

/// A real seal to a key that nobody keeps.
fn seal() -> Result<(), Error> {
    let suite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;
    let crypto = openmls_rust_crypto::RustCrypto::default();
    let pair = crypto.derive_hpke_keypair(suite.hpke_config(), &[7; 32]).map_err(Error::internal)?;
    let sealed = crypto.hpke_seal(suite.hpke_config(), &pair.public, &[], &[], &[0; 32]).map_err(Error::internal)?;
    black_box(sealed);
    Ok(())
}

impl Device for BurdenedDevice {
    fn notebook(&self) -> &Notebook {
        self.device.notebook()
    }

    fn identity(&mut self) -> Result<e2esm_adapter::Identity, Error> {
        self.device.identity()
    }

    fn publish(&mut self, peer: &DeviceId) -> Result<e2esm_adapter::Bundle, Error> {
        self.device.publish(peer)
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        self.device.create_group(group)
    }

    fn change(&mut self, group: &GroupId, change: &Change) -> Result<Output, Error> {
        let mut output = self.device.change(group, change)?;
        self.bear(group, &mut output)?;
        Ok(output)
    }

    fn send(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        let mut output = self.device.send(group, plaintext)?;
        self.bear(group, &mut output)?;
        Ok(output)
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        self.device.receive(packet)
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        self.device.roster(group)
    }

    fn call(&mut self, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Change { group, change } => Ok(Answer::Output(self.change(group, change)?)),
            Call::Send { group, plaintext } => Ok(Answer::Output(self.send(group, plaintext.as_ref())?)),
            call => self.device.call(call),
        }
    }

    fn fingerprint(&mut self, group: &GroupId, peer: &DeviceId) -> Result<e2esm_adapter::Fingerprint, Error> {
        self.device.fingerprint(group, peer)
    }

    fn group_info(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        self.device.group_info(group)
    }

    fn external_join(&mut self, group_info: &[u8]) -> Result<Output, Error> {
        self.device.external_join(group_info)
    }

    fn tree_in_welcome(&mut self, group: &GroupId, inside: bool) -> Result<(), Error> {
        self.device.tree_in_welcome(group, inside)
    }

    fn ratchet_tree(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        self.device.ratchet_tree(group)
    }

    fn join_with_tree(&mut self, welcome: &Packet, ratchet_tree: &[u8]) -> Result<Output, Error> {
        self.device.join_with_tree(welcome, ratchet_tree)
    }

    fn store(&mut self) -> Result<Bytes, Error> {
        self.device.store()
    }
}
