//! What a failure means: the flags that deliveries bear, each with one note for all files.

use crate::file::Flag;

/// A flag's name and note.
pub struct Note {
    /// The name.
    pub name: &'static str,
    bug_type: &'static str,
    description: &'static str,
    effect: &'static str,
    references: &'static [&'static str],
}

/// The note of a flag.
pub fn flag(name: &str) -> Option<Flag> {
    let note = FLAGS.iter().find(|note| note.name == name)?;
    Some(Flag {
        bug_type: note.bug_type.to_owned(),
        description: note.description.to_owned(),
        effect: note.effect.to_owned(),
        references: note.references.iter().map(|&reference| reference.to_owned()).collect(),
    })
}

/// All flags. A name is never used for something else.
pub const FLAGS: &[Note] = &[
    Note {
        name: "Altered",
        bug_type: "authentication",
        description: "A field of a packet was changed on its way, by somebody who holds no key.",
        effect: "The server, or anybody on the way, can change what members see or do.",
        references: &[
            "RFC 9420, section 6",
            "Signal: The Double Ratchet Algorithm, section 3.4",
            "Olm, Megolm: message authentication",
        ],
    },
    Note {
        name: "Malformed",
        bug_type: "decoding",
        description: "A packet was cut short, padded out or is no encoding at all.",
        effect: "A lenient decoder takes several byte strings for one packet, or reads past its end.",
        references: &["RFC 9420, section 2.1"],
    },
    Note {
        name: "Replayed",
        bug_type: "replay",
        description: "A packet that was taken before is delivered once more.",
        effect: "Whoever keeps a packet can make it happen again: a message is shown twice, a change is made twice.",
        references: &["RFC 9420, section 16.5", "Signal: The X3DH Key Agreement Protocol, section 4.2"],
    },
    Note {
        name: "Relabelled",
        bug_type: "authentication",
        description: "A packet is delivered as somebody else's.",
        effect: "Somebody's words are shown under another person's name.",
        references: &["CVE-2025-48937"],
    },
    Note {
        name: "OtherGroup",
        bug_type: "authentication",
        description: "A packet of one group is delivered into another.",
        effect: "Words said in one place appear in another.",
        references: &["RFC 9420, section 6.1"],
    },
    Note {
        name: "OtherEpoch",
        bug_type: "replay",
        description: "A packet of an earlier or a later state of the group is delivered.",
        effect: "A change that the group has left behind comes into force, or members part ways.",
        references: &["RFC 9420, section 14"],
    },
    Note {
        name: "RemovedSender",
        bug_type: "authentication",
        description: "Somebody who has been removed goes on sending.",
        effect: "Removal does not end a person's part in the conversation.",
        references: &["RFC 9420, section 12.1.3"],
    },
    Note {
        name: "AfterRemoval",
        bug_type: "confidentiality",
        description: "A device that has been removed is still given what is sent.",
        effect: "Removal does not end a person's access.",
        references: &["RFC 9420, section 12.1.3", "draft-muffett-end-to-end-secure-messaging, section 4.2"],
    },
    Note {
        name: "BeforeJoining",
        bug_type: "confidentiality",
        description: "A new device is given what was sent before it came.",
        effect: "A newcomer, or whoever adds a device for somebody, reads what was said before.",
        references: &["draft-muffett-end-to-end-secure-messaging, section 4.2"],
    },
    Note {
        name: "Outsider",
        bug_type: "authentication",
        description: "Somebody who is not in the group, or has no session, made the packet with keys of their own.",
        effect: "Anybody can speak or act as a member.",
        references: &["CVE-2022-39251"],
    },
    Note {
        name: "SwappedIdentity",
        bug_type: "authentication",
        description: "An identity key is not the one that was seen, or that was signed.",
        effect: "A person in the middle takes somebody's place.",
        references: &["draft-muffett-end-to-end-secure-messaging, section 6.2"],
    },
    Note {
        name: "WrongSignature",
        bug_type: "authentication",
        description: "A signature was made by another key than the one that is named, or over something else.",
        effect: "A device, a key or a message is taken for one that nobody vouched for.",
        references: &["RFC 9420, sections 5.1.2 and 7.3", "Signal: The X3DH Key Agreement Protocol, section 4.5"],
    },
    Note {
        name: "DegenerateKey",
        bug_type: "confidentiality",
        description: "A public key of small order, with which a key agreement has an outcome that everybody knows.",
        effect: "Whoever sees the traffic can read it.",
        references: &["RFC 7748, section 6.1"],
    },
    Note {
        name: "UnknownPrekey",
        bug_type: "authentication",
        description: "A message that opens a session names a prekey that the device does not have any more: used before, or thrown away.",
        effect: "A device that makes do without it opens one session twice, or comes to keys that the sender did not mean.",
        references: &["Signal: The X3DH Key Agreement Protocol, sections 3.4 and 4.2", "Olm: initial setup"],
    },
    Note {
        name: "Downgrade",
        bug_type: "downgrade",
        description: "A packet has an older version, or lacks a part that the present version demands.",
        effect: "Whoever stands between two devices makes them do with less protection than both can give.",
        references: &["Signal: The PQXDH Key Agreement Protocol, section 3.3"],
    },
    Note {
        name: "Insider",
        bug_type: "authentication",
        description: "A member made a packet that breaks one rule of the protocol; everything that depends on it was computed as if it did not.",
        effect: "One member brings the others into a state that the protocol excludes: see the rule.",
        references: &["RFC 9420, section 16"],
    },
    Note {
        name: "OutOfOrder",
        bug_type: "denial_of_service",
        description: "Packets are late, or some never come.",
        effect: "If a refusal: an ordinary network is enough to lose messages.",
        references: &["RFC 9420, section 15.3", "Signal: The Double Ratchet Algorithm, section 2.6"],
    },
    Note {
        name: "UnauthenticatedByDesign",
        bug_type: "none",
        description: "The protocol does not authenticate this part of the packet, and the device does not need it.",
        effect: "If something else than the right words from the right sender is shown, a forgery was taken.",
        references: &["Signal: The X3DH Key Agreement Protocol, section 3.3", "Olm: pre-key messages"],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_flag_has_one_note() {
        let names: BTreeSet<_> = FLAGS.iter().map(|note| note.name).collect();
        assert_eq!(names.len(), FLAGS.len());
        assert!(FLAGS.iter().all(|note| flag(note.name).is_some()));
        assert_eq!(flag("altered"), None);
    }
}
