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

/// Sends each message in the clear behind its ciphertext.
struct SendsInClear;

const END: &[u8] = b"end of what was said in the clear";

impl Flaw for SendsInClear {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        match call {
            Call::Receive { packet } => {
                match packet.bytes.0.strip_suffix(END).and_then(<[u8]>::split_last_chunk::<4>) {
                    Some((rest, length)) => {
                        let said = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                        let sealed = rest.get(..rest.len().saturating_sub(said)).unwrap_or_default();
                        Ok(Answer::Output(inner.receive(&Packet { bytes: sealed.into(), ..packet.clone() })?))
                    }
                    None => inner.call(call),
                }
            }
            Call::Send { group, plaintext } => {
                let mut output = inner.send(group, plaintext.as_ref())?;
                let length = u32::try_from(plaintext.0.len()).map_err(Error::internal)?.to_be_bytes();
                if let Some(packet) = output.packets.last_mut() {
                    packet.bytes = [packet.bytes.as_ref(), plaintext.as_ref(), &length, END].concat().into();
                }
                Ok(Answer::Output(output))
            }
            call => inner.call(call),
        }
    }
}

pub(crate) const ROGUES: &[Rogue] = &[
    Rogue {
        name: "sends-in-clear",
        base: "openmls-rustcrypto",
        what: "sends each message in the clear behind its ciphertext",
        precedent: "class: plaintext in metadata, notifications or logs",
        sound: false,
        caught_by: &["participation/server-view"],
        only: &[],
        make: || Box::new(SendsInClear),
    },
    Rogue {
        name: "escrow",
        base: "openmls-rustcrypto",
        what: "leaves a copy of each message with the server",
        precedent: "class: key escrow and unencrypted backups",
        sound: false,
        caught_by: &["participation/server-view"],
        only: &[],
        make: || Box::new(Escrow),
    },
];
