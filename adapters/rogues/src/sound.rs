//! Sound but unusual implementations: nothing may accuse them.

use std::collections::VecDeque;

use e2esm_adapter::{Answer, Call, Device, Error, ErrorClass, Output, Packet, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

/// Pads every message to a multiple of 1,024 bytes.
struct LargerPadding;

impl Flaw for LargerPadding {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        const STEP: usize = 1024;
        let pad = |plaintext: &[u8]| {
            let mut padded = plaintext.to_vec();
            padded.push(0x80);
            padded.resize(padded.len().div_ceil(STEP) * STEP, 0);
            padded
        };
        let answer = match call {
            Call::Send { group, plaintext } => Answer::Output(inner.send(group, &pad(plaintext.as_ref()))?),
            Call::Resend { group, plaintext, bundle, acknowledged } => {
                Answer::Output(inner.resend(group, &pad(plaintext.as_ref()), bundle, *acknowledged)?)
            }
            call => inner.call(call)?,
        };
        let Answer::Output(Output { packets, message: Some(mut message) }) = answer else { return Ok(answer) };
        if let Some(end) = message.plaintext.0.iter().rposition(|byte| *byte == 0x80) {
            message.plaintext.0.truncate(end);
        }
        Ok(Answer::Output(Output { packets, message: Some(message) }))
    }
}

/// Keeps messages that it cannot read yet, and tries them again when something else arrives: a wider reordering window.
#[derive(Default)]
struct WiderWindow {
    waiting: VecDeque<Packet>,
}

impl Flaw for WiderWindow {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        let Call::Receive { packet } = call else { return inner.call(call) };
        let result = inner.call(call);
        match &result {
            Err(Error { class: ErrorClass::NoKey | ErrorClass::StaleEpoch, .. })
                if packet.kind == PacketKind::Message =>
            {
                self.waiting.push_back(packet.clone());
                return result;
            }
            Ok(Answer::Output(output)) if output.message.is_none() => {}
            _ => return result,
        }
        let Some(earlier) = self.waiting.pop_front() else { return result };
        match inner.receive(&earlier) {
            Ok(mut read) => {
                if let Ok(Answer::Output(output)) = result {
                    read.packets.splice(0..0, output.packets);
                }
                Ok(Answer::Output(read))
            }
            // Still not, or waiting for a decision that belongs to another packet: it stays where it was.
            Err(_) => {
                self.waiting.push_front(earlier);
                result
            }
        }
    }
}

const fn sound(name: &'static str, base: &'static str, what: &'static str, make: fn() -> Box<dyn Flaw>) -> Rogue {
    Rogue { name, base, what, precedent: "sound, and unusual", sound: true, caught_by: &[], only: &[], make }
}

pub(crate) const ROGUES: &[Rogue] = &[
    sound("sound-padding-mls", "openmls-rustcrypto", "pads messages to multiples of 1,024 bytes (MLS)", || {
        Box::new(LargerPadding)
    }),
    sound("sound-padding", "vodozemac", "pads messages to multiples of 1,024 bytes (Megolm)", || {
        Box::new(LargerPadding)
    }),
    sound("sound-wider-window", "openmls-rustcrypto", "tries late and early messages again", || {
        Box::new(WiderWindow::default())
    }),
    sound("sound-wider-window-megolm", "vodozemac", "tries late and early messages again (Megolm)", || {
        Box::new(WiderWindow::default())
    }),
];
