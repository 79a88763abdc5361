//! Probing what an implementation declares, before anything is scored.
//!
//! Most capabilities are an operation: it is asked for with arguments that cannot work, and who has it refuses for another
//! reason than `unsupported`. Two are properties of the protocol and are looked up in a small group's life.

use e2esm_adapter::{
    Address, Answer, Authorisation, Bundle, Bytes, Call, Capability, Change, Description, DeviceId, ErrorClass, Fault,
    FingerprintKind, Forgery, GroupId, KnownGroup, Output, Packet, PacketKind,
};

use crate::worker::{Failure, Worker, shown};

/// Asks who the child is, and probes every capability, claimed or not.
///
/// # Errors
/// A [`Failure`]: `Nonsense` where the declaration is a lie.
pub fn probe(worker: &mut Worker) -> Result<Description, Failure> {
    let description = worker.hello()?;
    worker.probe_unknown_verb()?;
    let [one, two, three] = ["one", "two", "three"].map(|device| DeviceId::new("probe", device));
    for device in [&one, &two, &three] {
        worker.device(device, device)?.map_err(|error| nonsense(format!("it cannot make a device: {error}")))?;
    }
    let life = life(worker, &one, &two, &three)?.unwrap_or_default();
    for capability in Capability::ALL {
        let shown = match capability {
            Capability::Groups => life.groups,
            // What stands for these is seen in a group only.
            Capability::ThirdMember | Capability::Epochs | Capability::KeyDistribution if !life.groups => continue,
            Capability::ThirdMember => life.third_member,
            Capability::Epochs => life.epochs,
            Capability::KeyDistribution => life.key_distribution,
            other => match call(other) {
                Some(call) => {
                    let result = worker.call(&one, call, |_, _| Ok(true))?.result;
                    !matches!(result, Err(error) if error.class == ErrorClass::Unsupported)
                }
                None => continue,
            },
        };
        let declared = !description.unsupported.contains_key(&capability);
        if shown != declared {
            return Err(nonsense(contradiction(capability, declared)));
        }
    }
    Ok(description)
}

/// What a group of two shows of its protocol.
#[derive(Default)]
struct Life {
    groups: bool,
    third_member: bool,
    epochs: bool,
    key_distribution: bool,
}

/// `None` for an implementation that does not even have groups.
fn life(worker: &mut Worker, one: &DeviceId, two: &DeviceId, three: &DeviceId) -> Result<Option<Life>, Failure> {
    let group = GroupId("probe".to_owned());
    match worker.call(one, Call::CreateGroup { group: group.clone() }, |_, _| Ok(true))?.result {
        Ok(_) => {}
        Err(error) if error.class == ErrorClass::Unsupported => return Ok(None),
        Err(error) => return Err(nonsense(format!("it cannot `create_group`: {error}"))),
    }
    let bundle = |worker: &mut Worker, device: &DeviceId| {
        let publish = Call::Publish { peer: one.clone() };
        match worker.call(device, publish, |_, _| Ok(true))?.result {
            Ok(Answer::Bundle(bundle)) => Ok(bundle),
            Ok(other) => Err(nonsense(format!("to `publish` it answered {}", shown(&other)))),
            Err(error) => Err(nonsense(format!("it cannot `publish`: {error}"))),
        }
    };
    let (second, third) = (bundle(worker, two)?, bundle(worker, three)?);
    let mut ask = |device: &DeviceId, call: Call| -> Result<Answer, Failure> {
        let verb = call.verb();
        let result = worker.call(device, call, |_, _| Ok(true))?.result;
        result.map_err(|error| nonsense(format!("it cannot `{verb}` in an honest group of two: {error}")))
    };
    let change = Change { add: vec![second], ..Change::default() };
    if let Answer::Output(Output { packets, .. }) = ask(one, Call::Change { group: group.clone(), change })? {
        for packet in packets {
            match packet.kind {
                PacketKind::Change => ask(one, Call::Receive { packet })?,
                _ => ask(two, Call::Receive { packet })?,
            };
        }
    }
    let sent = ask(one, Call::Send { group: group.clone(), plaintext: Bytes(b"probe".to_vec()) })?;
    let key_distribution = matches!(&sent, Answer::Output(output)
        if output.packets.iter().any(|packet| packet.kind == PacketKind::KeyDistribution));
    let again = group.clone();
    let compared = worker.call(one, Call::Fingerprint { group, peer: two.clone() }, |_, _| Ok(true))?.result;
    let epochs =
        matches!(&compared, Ok(Answer::Fingerprint(value)) if value.kind == FingerprintKind::EpochAuthenticator);
    // The last thing in this group's life: it stays pending.
    let change = Change { add: vec![third], ..Change::default() };
    let third_member = worker.call(one, Call::Change { group: again, change }, |_, _| Ok(true))?.result.is_ok();
    Ok(Some(Life { groups: true, third_member, epochs, key_distribution }))
}

fn nonsense(reason: String) -> Failure {
    Failure::Nonsense { reason: format!("probe: {reason}") }
}

/// What to tell one whose declaration and deeds differ.
fn contradiction(capability: Capability, declared: bool) -> String {
    let name = capability.label();
    let (shows, lacks) = match capability {
        Capability::Groups => ("it can `create_group`", "answers `create_group` with `unsupported`"),
        Capability::ThirdMember => ("it can add a third member", "refuses to add a third member"),
        Capability::Epochs => (
            "its `fingerprint` is an `epoch_authenticator`",
            "shows none: its `fingerprint` is no `epoch_authenticator`",
        ),
        Capability::KeyDistribution => (
            "its first `send` gives a `key_distribution` packet",
            "shows none: its first `send` gives no `key_distribution` packet",
        ),
        _ => ("the call for it is not answered with `unsupported`", "answers the call for it with `unsupported`"),
    };
    if declared {
        format!(
            "it claims `{name}` (not in `unsupported`) and {lacks}: add `{name}` with a reason to `unsupported`, or mend it"
        )
    } else {
        format!("it has `{name}` in `unsupported`, and {shows}: take it out there, or answer `unsupported` to it")
    }
}

/// The call that probes a capability; `None` where no single operation stands for it.
fn call(capability: Capability) -> Option<Call> {
    let group = GroupId("no such group".to_owned());
    let nobody = DeviceId::new("nobody", "nowhere");
    let known = KnownGroup { id: group.clone(), members: Vec::new(), changes: 0 };
    let junk = || Bytes(vec![0]);
    let bundle = Bundle { device: nobody.clone(), bytes: junk() };
    let misbehave = |fault| Some(Call::Misbehave { fault });
    let craft = |forgery| Some(Call::Craft { forgery });
    match capability {
        Capability::Groups | Capability::ThirdMember | Capability::Epochs | Capability::KeyDistribution => None,
        Capability::ExternalJoin => Some(Call::ExternalJoin { group_info: junk() }),
        Capability::PairwiseSessions => Some(Call::Introduce { bundle }),
        Capability::Resend => Some(Call::Resend { group, plaintext: junk(), bundle, acknowledged: false }),
        Capability::History => Some(Call::ShareHistory { group, to: nobody }),
        Capability::KeyRequest => Some(Call::RequestKeys { group, holder: nobody }),
        Capability::Linking => {
            Some(Call::AcceptAuthorisation { authorisation: Authorisation { device: nobody, bytes: junk() } })
        }
        Capability::Fingerprint => Some(Call::Fingerprint { group, peer: nobody }),
        Capability::StateExport => Some(Call::ExportState {}),
        Capability::StandardKeys => Some(Call::StandardKeys {}),
        Capability::Persistence => Some(Call::Store {}),
        Capability::RatchetTree => Some(Call::RatchetTree { group }),
        Capability::RelabelledSender => misbehave(Fault::RelabelledSender(nobody)),
        Capability::WrongLeafSignature => misbehave(Fault::WrongLeafSignature),
        Capability::WrongParentHash => misbehave(Fault::WrongParentHash),
        Capability::WrongConfirmationTag => misbehave(Fault::WrongConfirmationTag),
        Capability::DegenerateKey => misbehave(Fault::DegenerateKey),
        Capability::ForgedMessage => craft(Forgery::Message { group: known, claim: nobody, plaintext: junk() }),
        Capability::ForgedKeyDistribution => {
            craft(Forgery::KeyDistribution { group: known, claim: nobody, victims: Vec::new(), plaintext: junk() })
        }
        Capability::ForgedChange => {
            craft(Forgery::Change { group: known, claim: nobody, add: Vec::new(), remove: Vec::new() })
        }
        Capability::UninvitedJoin => craft(Forgery::UninvitedJoin { group: known }),
        Capability::BrokenBundle => craft(Forgery::BrokenBundle { bundle }),
        Capability::RewrittenIdentity => craft(Forgery::RewrittenIdentity {
            packet: Packet {
                kind: PacketKind::Message,
                group,
                from: nobody.clone(),
                to: Address::Device(nobody),
                opens_session: true,
                bytes: junk(),
                seal: None,
            },
        }),
    }
}
