//! Implementations whose process is lost: the rows say so, and nothing else suffers.

use e2esm_adapter::{Answer, Call, Device, Error, PacketKind};

use crate::Rogue;
use crate::device::Flaw;

fn is_message(call: &Call) -> bool {
    matches!(call, Call::Receive { packet } if packet.kind == PacketKind::Message)
}

/// Loses its process in one way or another when it is to read a message.
enum Lost {
    Panics,
    Aborts,
    Hangs,
    EatsMemory,
}

impl Flaw for Lost {
    fn call(&mut self, inner: &mut dyn Device, call: &Call) -> Result<Answer, Error> {
        if !is_message(call) {
            return inner.call(call);
        }
        match self {
            Self::Panics => panic!("a flawed implementation panics on purpose"),
            Self::Aborts => std::process::abort(),
            Self::Hangs => loop {
                std::thread::sleep(std::time::Duration::from_secs(1));
            },
            Self::EatsMemory => {
                let mut eaten: Vec<Vec<u8>> = Vec::new();
                loop {
                    // Written to, because memory that nobody writes to is not resident.
                    eaten.push(vec![1; 16 << 20]);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        }
    }
}

const ONLY: &[&str] = &["authentication/roundtrip"];

const fn lost(name: &'static str, what: &'static str, make: fn() -> Box<dyn Flaw>) -> Rogue {
    Rogue {
        name,
        base: "vodozemac",
        what,
        precedent: "class: denial of service by a message",
        sound: false,
        caught_by: ONLY,
        only: ONLY,
        make,
    }
}

pub(crate) const ROGUES: &[Rogue] = &[
    lost("panics", "panics when it is to read a message", || Box::new(Lost::Panics)),
    lost("aborts", "aborts its process when it is to read a message", || Box::new(Lost::Aborts)),
    lost("never-returns", "never returns when it is to read a message", || Box::new(Lost::Hangs)),
    lost("eats-memory", "eats memory when it is to read a message", || Box::new(Lost::EatsMemory)),
];
