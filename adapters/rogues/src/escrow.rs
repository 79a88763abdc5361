//! An implementation that lets the server read.

use e2esm_adapter::{Address, Answer, Call, Device, Error, Message, Output, Packet, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

const MARK: &[u8] = b"for the lawful recipient: ";

/// Leaves a copy of each message with the server.
#[derive(Default)]
struct Escrow;

impl Flaw for Escrow {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Receive { packet } if packet.to == Address::Server && packet.bytes.0.starts_with(MARK) => {
                Ok(Answer::Output(Output::message(Message {
                    group: packet.group.clone(),
                    sender: packet.from.clone(),
                    plaintext: packet.bytes.0[MARK.len()..].into(),
                })))
            }
            Call::Send { group, plaintext } => {
                let mut output = inner.send(group, plaintext.as_ref())?;
                if let Some(from) = output.packets.last().map(|packet| packet.from.clone()) {
                    output.packets.push(Packet {
                        kind: PacketKind::Message,
                        group: group.clone(),
                        from,
                        to: Address::Server,
                        opens_session: false,
                        bytes: [MARK, plaintext.as_ref()].concat().into(),
                        seal: None,
                    });
                }
                Ok(Answer::Output(output))
            }
            call => inner.call(call),
        }
    }
}

fn escrow() -> Box<dyn Flaw> {
    Box::new(Escrow)
}

pub(crate) const ROGUES: &[Rogue] = &[Rogue {
    name: "escrow",
    base: "openmls-rustcrypto",
    what: "leaves a copy of each message with the server",
    precedent: "class: key escrow and unencrypted backups",
    sound: false,
    caught_by: &["participation/server-view"],
    only: &[],
    make: escrow,
}];
