//! Deliberately flawed implementations for the recorded vectors: devices that only receive, each with one flaw.
//!
//! Of the flaws in the other modules many lie in what a device sends, asks or shows, and a passive device does none of it:
//! those implementations declare that they play no recorded vectors. What is left, and what only shows in bytes, is here. A
//! flaw sees deliveries, never a vector's id or the name of a delivery.

use std::collections::BTreeSet;

use e2esm_adapter::{
    Adapter, Delivered, Delivery, DeliveryKind, Description, Device, DeviceId, Error, ErrorClass, Passive, Start,
};

/// One flaw of a passive device.
pub trait Hearing: Send {
    /// A delivery. The sound device is `inner`; a flaw may ask it, or not.
    ///
    /// # Errors
    /// Those of the device, or the flaw's own.
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error>;
}

/// A flawed implementation that plays recorded vectors.
#[derive(Clone, Copy)]
pub struct PassiveRogue {
    /// Its name.
    pub name: &'static str,
    /// The built-in adapter that it wraps.
    pub base: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// Where that was seen, or the class of bug.
    pub precedent: &'static str,
    /// Recorded vectors that must catch it: for each of these beginnings of ids, at least one.
    pub caught_by: &'static [&'static str],
    /// Whether it is sound, and merely unusual: then no vector may fail it.
    pub sound: bool,
    make: fn() -> Box<dyn Hearing>,
}

impl PassiveRogue {
    /// This rogue over its base.
    pub fn over(&self, base: Box<dyn Adapter>) -> Box<dyn Adapter> {
        Box::new(PassiveAdapter { rogue: *self, base })
    }
}

struct PassiveAdapter {
    rogue: PassiveRogue,
    base: Box<dyn Adapter>,
}

impl Adapter for PassiveAdapter {
    fn describe(&self) -> Description {
        let honest = self.base.describe();
        Description {
            name: self.rogue.name.to_owned(),
            implementation: format!("{} with the flaw `{}`", honest.implementation, self.rogue.name),
            ..honest
        }
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        self.base.device(id)
    }

    fn passive(&self, start: &Start) -> Result<Box<dyn Passive>, Error> {
        Ok(Box::new(Flawed { inner: self.base.passive(start)?, hearing: (self.rogue.make)() }))
    }
}

struct Flawed {
    inner: Box<dyn Passive>,
    hearing: Box<dyn Hearing>,
}

impl Passive for Flawed {
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        self.hearing.deliver(self.inner.as_mut(), delivery)
    }
}

/// Takes nothing.
struct Mute;

impl Hearing for Mute {
    fn deliver(&mut self, _: &mut dyn Passive, _: &Delivery) -> Result<Delivered, Error> {
        Err(Error::new(ErrorClass::AuthFailed, "rejected"))
    }
}

/// Tells its user that all is well whenever the library has refused something.
struct SwallowsErrors;

impl Hearing for SwallowsErrors {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        Ok(inner.deliver(delivery).unwrap_or_default())
    }
}

/// Shows what it has shown before when the same packet comes again.
#[derive(Default)]
struct AcceptsReplay {
    seen: Vec<(Delivery, Delivered)>,
}

impl Hearing for AcceptsReplay {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        match inner.deliver(delivery) {
            Ok(delivered) => {
                self.seen.push((delivery.clone(), delivered.clone()));
                Ok(delivered)
            }
            Err(error) => {
                let before = self.seen.iter().find(|(seen, _)| seen.bytes == delivery.bytes);
                before.map(|(_, delivered)| delivered.clone()).ok_or(error)
            }
        }
    }
}

/// Is lost for good once it has refused something: the state is not put back.
#[derive(Default)]
struct BreaksOnRefusal {
    broken: bool,
}

impl Hearing for BreaksOnRefusal {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        if self.broken {
            return Err(Error::new(ErrorClass::NoKey, "the session was lost"));
        }
        let result = inner.deliver(delivery);
        self.broken |= result.is_err();
        result
    }
}

/// Does not look at the end of a packet: reads one that is followed by something else.
struct TrailingBytes;

impl Hearing for TrailingBytes {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        let mut result = inner.deliver(delivery);
        let mut shorter = delivery.clone();
        for _ in 0..16 {
            if result.is_ok() || shorter.bytes.0.pop().is_none() {
                break;
            }
            result = inner.deliver(&shorter).or(result);
        }
        result
    }
}

/// Shows each message as from whoever was read before.
#[derive(Default)]
struct Misattributes {
    leaf: Option<u32>,
    sender: Option<String>,
}

impl Hearing for Misattributes {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        let mut delivered = inner.deliver(delivery)?;
        if let Some(leaf) = delivered.sender_leaf {
            delivered.sender_leaf = Some(self.leaf.replace(leaf).unwrap_or(leaf));
        }
        if let Some(sender) = delivered.sender.clone() {
            delivered.sender = Some(self.sender.replace(sender.clone()).unwrap_or(sender));
        }
        Ok(delivered)
    }
}

/// Believes the label: tries everybody's session, and shows the name that stands on the packet.
#[derive(Default)]
struct BelievesTheLabel {
    labels: BTreeSet<String>,
}

impl Hearing for BelievesTheLabel {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        let error = match inner.deliver(delivery) {
            Ok(delivered) => {
                self.labels.extend(delivery.from.clone());
                return Ok(delivered);
            }
            Err(error) => error,
        };
        for label in &self.labels {
            let relabelled = Delivery { from: Some(label.clone()), ..delivery.clone() };
            if let Ok(delivered) = inner.deliver(&relabelled) {
                return Ok(Delivered { sender: delivery.from.clone(), ..delivered });
            }
        }
        Err(error)
    }
}

/// Passes over the group's word that a packet is of a state which this device is not in, and shows what was read last.
#[derive(Default)]
struct ReadsOn {
    last: Option<Delivered>,
}

impl Hearing for ReadsOn {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        match inner.deliver(delivery) {
            Ok(delivered) => {
                if delivered.plaintext.is_some() {
                    self.last = Some(delivered.clone());
                }
                Ok(delivered)
            }
            Err(error) if matches!(error.class, ErrorClass::StaleEpoch | ErrorClass::NotMember) => {
                self.last.clone().ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// Takes every identity key for the right one: keeps no store of them, so that nobody is told of a change.
#[derive(Default)]
struct ForgetsIdentities;

impl Hearing for ForgetsIdentities {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        match inner.deliver(delivery) {
            Err(error) if error.class == ErrorClass::UntrustedIdentity => Ok(Delivered::default()),
            result => result,
        }
    }
}

/// Takes a key for a group from anybody.
struct AnybodysKeys;

impl Hearing for AnybodysKeys {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        let keys = [DeliveryKind::SenderKeyDistribution, DeliveryKind::SessionKey, DeliveryKind::ExportedSessionKey];
        match inner.deliver(delivery) {
            Err(_) if keys.contains(&delivery.kind) => Ok(Delivered::default()),
            result => result,
        }
    }
}

/// Loses its process at the third delivery.
#[derive(Default)]
struct Aborts {
    count: u32,
}

impl Hearing for Aborts {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        self.count += 1;
        if self.count == 3 {
            std::process::abort();
        }
        inner.deliver(delivery)
    }
}

/// Sound: asks the library a second time when it has refused.
struct AsksTwice;

impl Hearing for AsksTwice {
    fn deliver(&mut self, inner: &mut dyn Passive, delivery: &Delivery) -> Result<Delivered, Error> {
        inner.deliver(delivery).or_else(|error| inner.deliver(delivery).map_err(|_| error))
    }
}

const MLS: &str = "openmls-rustcrypto";
const SIGNAL: &str = "libsignal-rust";
const MATRIX: &str = "vodozemac";

const fn flawed(
    name: &'static str,
    base: &'static str,
    what: &'static str,
    precedent: &'static str,
    caught_by: &'static [&'static str],
    make: fn() -> Box<dyn Hearing>,
) -> PassiveRogue {
    PassiveRogue { name, base, what, precedent, caught_by, sound: false, make }
}

const fn sound(
    name: &'static str,
    base: &'static str,
    what: &'static str,
    make: fn() -> Box<dyn Hearing>,
) -> PassiveRogue {
    PassiveRogue { name, base, what, precedent: "sound, and unusual", caught_by: &[], sound: true, make }
}

/// Where each flaw shows; the same flaw over another protocol is another implementation.
pub(crate) const ROGUES: &[PassiveRogue] = &[
    flawed(
        "hears-nothing-mls",
        MLS,
        "takes nothing",
        "class: a check that nothing passes",
        &["mls/authentication/", "mls/removal/", "mls/device-addition/", "mls/participation/", "mls/integrity/"],
        || Box::new(Mute),
    ),
    flawed(
        "hears-nothing-signal",
        SIGNAL,
        "takes nothing",
        "class: a check that nothing passes",
        &["signal/authentication/", "signal/removal/", "signal/device-addition/", "signal/integrity/"],
        || Box::new(Mute),
    ),
    flawed(
        "hears-nothing-matrix",
        MATRIX,
        "takes nothing",
        "class: a check that nothing passes",
        &["olm/authentication/", "megolm/authentication/", "megolm/removal/", "megolm/device-addition/"],
        || Box::new(Mute),
    ),
    flawed(
        "swallows-errors-mls",
        MLS,
        "says that all is well when the library has refused something",
        "class: an error that nobody looks at",
        &["mls/authentication/", "mls/removal/", "mls/device-addition/", "mls/participation/", "mls/integrity/"],
        || Box::new(SwallowsErrors),
    ),
    flawed(
        "swallows-errors-signal",
        SIGNAL,
        "says that all is well when the library has refused something",
        "class: an error that nobody looks at",
        &["signal/authentication/", "signal/removal/", "signal/device-addition/", "signal/integrity/"],
        || Box::new(SwallowsErrors),
    ),
    flawed(
        "swallows-errors-matrix",
        MATRIX,
        "says that all is well when the library has refused something",
        "class: an error that nobody looks at",
        &["olm/authentication/", "megolm/authentication/", "megolm/removal/", "megolm/device-addition/"],
        || Box::new(SwallowsErrors),
    ),
    flawed(
        "hears-replays-mls",
        MLS,
        "shows a message again when its packet comes again",
        "class: no replay protection",
        &["mls/authentication/replayed-", "mls/participation/"],
        || Box::new(AcceptsReplay::default()),
    ),
    flawed(
        "hears-replays-signal",
        SIGNAL,
        "shows a message again when its packet comes again",
        "class: no replay protection",
        &["signal/authentication/replayed-"],
        || Box::new(AcceptsReplay::default()),
    ),
    flawed(
        "hears-replays-matrix",
        MATRIX,
        "shows a message again when its packet comes again",
        "class: no replay protection",
        &["olm/authentication/replayed-"],
        || Box::new(AcceptsReplay::default()),
    ),
    flawed(
        "lost-after-refusal-mls",
        MLS,
        "is lost once it has refused something",
        "class: denial of service by one bad packet",
        &["mls/authentication/", "mls/integrity/"],
        || Box::new(BreaksOnRefusal::default()),
    ),
    flawed(
        "lost-after-refusal-signal",
        SIGNAL,
        "is lost once it has refused something",
        "class: denial of service by one bad packet",
        &["signal/authentication/", "signal/integrity/"],
        || Box::new(BreaksOnRefusal::default()),
    ),
    flawed(
        "lost-after-refusal-matrix",
        MATRIX,
        "is lost once it has refused something",
        "class: denial of service by one bad packet",
        &["olm/authentication/", "megolm/integrity/"],
        || Box::new(BreaksOnRefusal::default()),
    ),
    flawed(
        "trailing-bytes-mls",
        MLS,
        "reads a packet that is followed by something else",
        "class: a decoder that does not look at the end",
        &["mls/authentication/altered-", "mls/device-addition/"],
        || Box::new(TrailingBytes),
    ),
    flawed(
        "trailing-bytes-matrix",
        MATRIX,
        "reads a packet that is followed by something else",
        "class: a decoder that does not look at the end",
        &["olm/authentication/altered-", "megolm/authentication/altered-"],
        || Box::new(TrailingBytes),
    ),
    flawed(
        "misattributes-mls",
        MLS,
        "shows each message as from the sender before",
        "class: sender taken from shared state",
        &["mls/authentication/"],
        || Box::new(Misattributes::default()),
    ),
    flawed(
        "misattributes-signal",
        SIGNAL,
        "shows each message as from the sender before",
        "class: sender taken from shared state",
        &["signal/authentication/"],
        || Box::new(Misattributes::default()),
    ),
    flawed(
        "believes-the-label-signal",
        SIGNAL,
        "tries every session, and shows the name that stands on the packet",
        "CVE-2025-48937; libsignal before 0.91 for first messages",
        &["signal/authentication/relabelled-"],
        || Box::new(BelievesTheLabel::default()),
    ),
    flawed(
        "believes-the-label-olm",
        MATRIX,
        "tries every session, and shows the name that stands on the packet",
        "CVE-2025-48937",
        &["olm/authentication/relabelled-"],
        || Box::new(BelievesTheLabel::default()),
    ),
    flawed(
        "reads-on-mls",
        MLS,
        "shows something where the group has gone on without it",
        "class: removal that is only shown",
        &["mls/removal/"],
        || Box::new(ReadsOn::default()),
    ),
    flawed(
        "forgets-identities",
        SIGNAL,
        "takes a changed identity key without a word",
        "WhatsApp 2017",
        &["signal/authentication/identity-"],
        || Box::new(ForgetsIdentities),
    ),
    flawed("anybodys-keys-signal", SIGNAL, "takes a sender key that is none", "CVE-2022-39251", &["signal/"], || {
        Box::new(AnybodysKeys)
    }),
    flawed(
        "anybodys-keys-megolm",
        MATRIX,
        "takes a session key whose signature does not hold",
        "CVE-2022-39251",
        &["megolm/"],
        || Box::new(AnybodysKeys),
    ),
    flawed(
        "hears-and-aborts",
        MLS,
        "loses its process at the third delivery",
        "class: denial of service by a message",
        &["mls/"],
        || Box::new(Aborts::default()),
    ),
    sound("sound-asks-twice-mls", MLS, "asks the library a second time when it has refused", || Box::new(AsksTwice)),
    sound("sound-asks-twice-signal", SIGNAL, "asks the library a second time when it has refused", || {
        Box::new(AsksTwice)
    }),
    sound("sound-asks-twice-matrix", MATRIX, "asks the library a second time when it has refused", || {
        Box::new(AsksTwice)
    }),
];
