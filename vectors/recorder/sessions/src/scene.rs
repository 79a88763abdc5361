//! One vector while its story is told: a thin hand on [`Draft`].

use anyhow::Result;
use e2esm_adapter::{Bytes, Delivered, Delivery, DeliveryKind, ErrorClass, Start};
use e2esm_playback::{Draft, Fault, ObservedOutcome};

use crate::alter::{Change, Layout, WHOLE};

/// Reasons for a refusal.
pub(crate) type Reasons = &'static [ErrorClass];

pub(crate) const AUTH: Reasons = &[ErrorClass::AuthFailed];
pub(crate) const BAD: Reasons = &[ErrorClass::BadRequest];
pub(crate) const NO_KEY: Reasons = &[ErrorClass::NoKey];
pub(crate) const DUPLICATE: Reasons = &[ErrorClass::Duplicate];
pub(crate) const UNTRUSTED: Reasons = &[ErrorClass::UntrustedIdentity];
/// The key is not that of the label, or, for who looks later, the keys do not fit.
pub(crate) const UNTRUSTED_AUTH: Reasons = &[ErrorClass::UntrustedIdentity, ErrorClass::AuthFailed];
pub(crate) const AUTH_BAD: Reasons = &[ErrorClass::AuthFailed, ErrorClass::BadRequest];
pub(crate) const AUTH_NO_KEY: Reasons = &[ErrorClass::AuthFailed, ErrorClass::NoKey];
pub(crate) const AUTH_DUPLICATE: Reasons = &[ErrorClass::AuthFailed, ErrorClass::Duplicate];
pub(crate) const AUTH_BAD_NO_KEY: Reasons = &[ErrorClass::AuthFailed, ErrorClass::BadRequest, ErrorClass::NoKey];
/// A ratchet that has gone on cannot always tell a message that was read from one whose key was thrown away.
pub(crate) const READ_BEFORE: Reasons = &[ErrorClass::Duplicate, ErrorClass::NoKey, ErrorClass::AuthFailed];

/// What a sound device makes of an altered packet.
#[derive(Clone, Copy)]
pub(crate) enum Want {
    /// It refuses.
    Refuse(Reasons),
    /// It may take it: nothing authenticates this.
    Open,
}

/// A field, what is done to it, and what comes of it.
pub(crate) type Row = (&'static str, Change, Want);

/// A vector that is being told.
pub(crate) struct Scene {
    pub(crate) draft: Draft,
    /// How many packets of a session there have been: for names.
    count: usize,
}

/// A packet and who it is from, and the text in it.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) delivery: Delivery,
    pub(crate) text: Vec<u8>,
    /// Megolm: the index.
    pub(crate) index: Option<u32>,
    /// Who is shown as the sender.
    pub(crate) sender: String,
}

impl Sent {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.delivery.bytes.as_ref()
    }

    /// The same packet with other bytes.
    pub(crate) fn with(&self, bytes: Vec<u8>) -> Delivery {
        Delivery { bytes: Bytes(bytes), ..self.delivery.clone() }
    }

    /// The same packet under another label.
    pub(crate) fn labelled(&self, from: &str) -> Delivery {
        Delivery { from: Some(from.to_owned()), ..self.delivery.clone() }
    }

    fn facts(&self) -> Delivered {
        Delivered {
            plaintext: Some(self.text.clone().into()),
            sender: Some(self.sender.clone()),
            message_index: self.index,
            ..Delivered::default()
        }
    }
}

/// A delivery without a text in it.
pub(crate) fn delivery(kind: DeliveryKind, from: Option<&str>, bytes: &[u8]) -> Delivery {
    Delivery { kind, from: from.map(str::to_owned), bytes: bytes.into(), ratchet_tree: None }
}

impl Scene {
    pub(crate) fn new(
        id: &str,
        title: &str,
        description: &str,
        requirements: &[&str],
        date: &str,
        start: Start,
    ) -> Self {
        Self { draft: Draft::new(id, title, description, requirements, date, start), count: 0 }
    }

    /// It is read.
    pub(crate) fn read(&mut self, name: &str, comment: &str, sent: &Sent) {
        self.draft.accept(name, comment, sent.delivery.clone(), sent.facts());
    }

    /// It comes late, or early, or some before it never came, and it is read all the same.
    pub(crate) fn read_out_of_order(&mut self, name: &str, comment: &str, sent: &Sent) {
        self.draft.accept_flagged(name, comment, sent.delivery.clone(), &["OutOfOrder"], sent.facts());
    }

    /// It is taken, and there is nothing in it to read.
    pub(crate) fn take(&mut self, name: &str, comment: &str, delivery: Delivery) {
        self.draft.accept(name, comment, delivery, Delivered::default());
    }

    /// It is refused. `fault` is packet, field and change.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn refuse(
        &mut self,
        name: &str,
        comment: &str,
        delivery: Delivery,
        flags: &[&str],
        fault: (&str, &str, &str),
        twin: &str,
        reasons: Reasons,
    ) {
        self.draft.reject(name, comment, delivery, flags, named(fault), twin, reasons);
    }

    /// It may be refused, or it is read as what it was.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn open(
        &mut self,
        name: &str,
        comment: &str,
        bytes: Vec<u8>,
        sent: &Sent,
        flags: &[&str],
        fault: (&str, &str, &str),
        twin: &str,
    ) {
        self.draft.harmless(name, comment, sent.with(bytes), flags, named(fault), twin, sent.facts());
    }

    /// It may be refused, or it is kept, and nothing is read by that.
    pub(crate) fn open_key(
        &mut self,
        name: &str,
        comment: &str,
        delivery: Delivery,
        flags: &[&str],
        fault: (&str, &str, &str),
        twin: &str,
    ) {
        self.draft.harmless(name, comment, delivery, flags, named(fault), twin, Delivered::default());
    }

    /// A known implementation shows another outcome.
    pub(crate) fn disagreement(&mut self, implementation: &str, delivery: &str, observed: ObservedOutcome, note: &str) {
        self.draft.disagreement(implementation, delivery, observed, note);
    }

    /// The next honest packet, in passing.
    pub(crate) fn next(&mut self, sent: &Sent) -> String {
        self.count += 1;
        let name = format!("honest-{}", self.count);
        self.read(&name, "", sent);
        name
    }

    /// For each row, the next packet of a chain: first an altered copy, then the packet itself. `packets` come in the
    /// order in which they were sent; fields that are swapped are those of `donor`.
    pub(crate) fn one_altered_copy_each(
        &mut self,
        layout: &Layout,
        rows: &[Row],
        donor: &Sent,
        mut packet: impl FnMut() -> Result<Sent>,
    ) -> Result<()> {
        for &(field, change, want) in rows {
            let sent = packet()?;
            self.count += 1;
            let name = format!("honest-{}", self.count);
            let bytes = layout.alter(sent.bytes(), field, change, Some(donor.bytes()))?;
            self.altered(layout, (field, change, want), bytes, &sent, &name);
            if matches!(want, Want::Refuse(_)) {
                self.read(&name, "The packet itself.", &sent);
            } else {
                // It may have been read: its twin is the next of the chain.
                self.read(&name, "The next packet of the chain.", &packet()?);
            }
        }
        Ok(())
    }

    /// Altered copies of one packet, which all come before it.
    pub(crate) fn altered_copies(
        &mut self,
        layout: &Layout,
        rows: &[Row],
        donor: Option<&Sent>,
        sent: &Sent,
        twin: &str,
    ) -> Result<()> {
        for &(field, change, want) in rows {
            let bytes = layout.alter(sent.bytes(), field, change, donor.map(Sent::bytes))?;
            self.altered(layout, (field, change, want), bytes, sent, twin);
        }
        Ok(())
    }

    fn altered(&mut self, layout: &Layout, (field, change, want): Row, bytes: Vec<u8>, sent: &Sent, twin: &str) {
        let fault = (layout.packet, field, change.label());
        let name = slug(field, change);
        match want {
            Want::Refuse(reasons) => {
                let flag = if degenerate(change) {
                    "DegenerateKey"
                } else if older(change) {
                    "Downgrade"
                } else if field == "identity_key" && !change.malforms() {
                    "SwappedIdentity"
                } else if change.malforms() || field == WHOLE {
                    "Malformed"
                } else {
                    "Altered"
                };
                self.refuse(&name, "", sent.with(bytes), &[flag], fault, twin, reasons);
            }
            Want::Open => {
                let comment =
                    "It may be read, so the packet itself cannot follow: its twin is a later one of the session.";
                self.open(&name, comment, bytes, sent, &["UnauthenticatedByDesign"], fault, twin);
            }
        }
    }
}

fn named((packet, field, change): (&str, &str, &str)) -> Fault {
    Fault { packet: packet.to_owned(), field: field.to_owned(), change: change.to_owned(), rule: None }
}

fn slug(field: &str, change: Change) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let text: String = format!("{field} {}", change.label()).chars().map(plain).collect();
    text.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

/// Points of small order on Curve25519 (RFC 7748, section 6.1): whatever the private key, the agreement is zero.
fn degenerate(change: Change) -> bool {
    matches!(change, Change::Set(label, _) if label.contains("key of order") || label.contains("all-zero"))
}

/// A version before the present one.
fn older(change: Change) -> bool {
    matches!(change, Change::Set(label, _) if label.contains(", before"))
}
