//! One cell, ready to be measured again and again: devices are loaded as they were, the operation is done under the
//! clock, and then, not under the clock, another device must come to the same result.

use std::hint::black_box;
use std::time::Instant;

use e2esm_adapter::meter::{self, Metering, Reading};
use e2esm_adapter::{Adapter, Address, Bytes, Change, Device, DeviceId, Error, ErrorClass, Output, Packet, PacketKind};

use super::cache::Cache;
use super::cell::{Cell, Operation, group, member};
use super::heap::{self, Heap};
use super::prepare::{PrepareError, Prepared, Stored, agree, change_of, device, prepare, reaches, throw_away};

/// What is said in a measured message: 32 bytes.
const PLAINTEXT: &[u8; 32] = b"thirty-two bytes to be measured.";
/// What is said to see whether two devices understand each other.
const CHECK: &[u8] = b"do you read me?";

/// One thing that the measured device does.
enum Step {
    Create,
    Change(Change),
    /// The server gives the change back to its author.
    TakeOwn,
    Send,
    Receive(Packet),
    ExternalJoin(Bytes),
    JoinWithTree(Packet, Bytes),
    Store,
    Load(Stored),
}

impl Step {
    /// What a device does that is there and stays; `packets` are those that it has made so far.
    fn take(&self, device: &mut dyn Device, packets: &[Packet]) -> Result<Output, Error> {
        match self {
            Self::Create => device.create_group(&group()),
            Self::Change(change) => device.change(&group(), change),
            Self::TakeOwn => device.receive(change_of(packets)?),
            Self::Send => device.send(&group(), PLAINTEXT),
            Self::Receive(packet) => device.receive(packet),
            Self::ExternalJoin(info) => device.external_join(info.as_ref()),
            Self::JoinWithTree(welcome, tree) => device.join_with_tree(welcome, tree.as_ref()),
            Self::Store | Self::Load(_) => Err(Error::internal("this step is about what is kept of a device")),
        }
    }
}

/// What the measured device is before.
enum Start {
    /// A member, or one about to join.
    Stored(Stored),
    /// A device without any group.
    Fresh(DeviceId),
    /// There is none: it is loaded under the clock.
    Nothing,
}

/// The device that checks.
struct Witness {
    stored: Stored,
    /// Whether it is let in by what is measured: then changes from before its time are not for it.
    newcomer: bool,
    /// Whether it speaks in the end, or the measured device.
    speaks: bool,
}

/// Why a cell was not measured.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The implementation does not have this operation.
    #[error("{0}")]
    Unsupported(String),
    /// The state or the operation's surroundings could not be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The implementation refused something on the way.
    #[error("{doing}: {source}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Error,
    },
    /// The operation was done and the answer is wrong: the timing is void.
    #[error("wrong answer: {0}")]
    Wrong(String),
}

fn refused(doing: &'static str) -> impl Fn(Error) -> StageError {
    move |source| match source.class {
        ErrorClass::Unsupported => StageError::Unsupported(source.text),
        _ => StageError::Refused { doing, source },
    }
}

/// A cell with everything that its operation needs.
pub struct Stage<'a> {
    adapter: &'a dyn Adapter,
    size: u64,
    start: Start,
    steps: Vec<Step>,
    witness: Witness,
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Time under the clock.
    pub nanoseconds: u64,
    /// Bytes of the packets that the operation gave to the server.
    pub bytes_up: u64,
    /// Bytes that the server gives out for them: a packet to the group counts once for each other member.
    pub bytes_fanned_out: u64,
    /// Bytes of the stored state, where the operation stores one.
    pub state_bytes: Option<u64>,
    /// What was asked of the allocator, in a program that counts.
    pub heap: Option<Heap>,
    /// What the meter saw.
    pub reading: Reading,
}

impl<'a> Stage<'a> {
    /// Sets everything up.
    ///
    /// # Errors
    /// [`StageError`]; never `Wrong`.
    pub fn new(adapter: &'a dyn Adapter, cell: &Cell, cache: &Cache) -> Result<Self, StageError> {
        let mls = adapter.describe().group_object;
        if let Some(reason) = cell.impossible(mls) {
            return Err(StageError::Unsupported(reason));
        }
        let set = Setup { adapter, cell, mls };
        let (start, steps, witness) = match cell.operation {
            Operation::Create => set.create()?,
            operation => set.in_group(operation, prepare(adapter, &cell.setting, cache)?)?,
        };
        Ok(Self { adapter, size: cell.setting.size.into(), start, steps, witness })
    }

    /// The devices of one measurement.
    ///
    /// # Errors
    /// [`StageError::Refused`].
    pub fn scene(&self) -> Result<Scene<'_>, StageError> {
        let device = match &self.start {
            Start::Stored(stored) => Some(stored.load(self.adapter).map_err(refused("loading the device"))?),
            Start::Fresh(id) => Some(device(self.adapter, id).map_err(refused("making the device"))?),
            Start::Nothing => None,
        };
        Ok(Scene { stage: self, device, packets: Vec::new(), heard: Vec::new(), stored: None })
    }

    /// One measurement, checked.
    ///
    /// # Errors
    /// [`StageError`], above all `Wrong`.
    pub fn sample(&self, metering: Metering) -> Result<Sample, StageError> {
        self.sample_with(metering, measured)
    }

    /// The same outside of the measured region: so that what a library does only once is done.
    ///
    /// # Errors
    /// As for [`sample`](Self::sample).
    pub fn warm_up(&self) -> Result<Sample, StageError> {
        self.sample_with(Metering::Off, |scene| scene.act())
    }

    fn sample_with(
        &self,
        metering: Metering,
        act: fn(&mut Scene<'_>) -> Result<(), Error>,
    ) -> Result<Sample, StageError> {
        let mut scene = self.scene()?;
        meter::start(metering);
        let ((nanoseconds, done), heap) = heap::count(|| {
            let start = Instant::now();
            let done = act(&mut scene);
            (u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX), done)
        });
        let reading = meter::stop();
        done.map_err(refused("the measured operation"))?;
        let mut sample = Sample {
            nanoseconds,
            bytes_up: 0,
            bytes_fanned_out: 0,
            state_bytes: scene.stored.as_ref().map(|store| store.0.len() as u64),
            heap,
            reading,
        };
        for packet in &scene.packets {
            let bytes = packet.bytes.0.len() as u64;
            sample.bytes_up += bytes;
            sample.bytes_fanned_out += bytes
                * match &packet.to {
                    Address::Group(_) => self.size - 1,
                    Address::Device(_) => 1,
                    Address::Devices(devices) => devices.len() as u64,
                    Address::Server => 0,
                };
        }
        scene.check()?;
        Ok(sample)
    }
}

/// The measured region, and nothing else: tools that count instructions look for this name.
#[inline(never)]
pub fn measured(scene: &mut Scene<'_>) -> Result<(), Error> {
    black_box(scene).act()
}

/// The devices of one measurement.
pub struct Scene<'a> {
    stage: &'a Stage<'a>,
    device: Option<Box<dyn Device>>,
    packets: Vec<Packet>,
    heard: Vec<(DeviceId, Bytes)>,
    stored: Option<Bytes>,
}

impl Scene<'_> {
    /// Does the operation: what is measured.
    ///
    /// # Errors
    /// The device's.
    pub fn act(&mut self) -> Result<(), Error> {
        let Self { stage, device, packets, heard, stored } = self;
        for step in &stage.steps {
            if let Step::Load(store) = step {
                *device = Some(store.load(stage.adapter)?);
                continue;
            }
            let device = device.as_mut().ok_or_else(|| Error::internal("there is no device yet"))?;
            if let Step::Store = step {
                *stored = Some(device.store()?);
                continue;
            }
            let output = step.take(&mut **device, packets)?;
            if let Some(message) = output.message {
                heard.push((message.sender, message.plaintext));
            }
            packets.extend(output.packets);
        }
        Ok(())
    }

    /// Whether the answer is right: what was read is what was sent, the witness takes all packets, the two agree, and one
    /// understands the other. What this costs does not count.
    ///
    /// # Errors
    /// `Wrong`.
    pub fn check(mut self) -> Result<(), StageError> {
        let Stage { adapter, start, steps, witness: Witness { stored, newcomer, speaks }, .. } = self.stage;
        let wrong = |what: &str| {
            let what = what.to_owned();
            move |error: Error| StageError::Wrong(format!("{what}: {error}"))
        };
        let id = match (start, steps.first()) {
            (Start::Stored(Stored { id, .. }) | Start::Fresh(id), _) | (_, Some(Step::Load(Stored { id, .. }))) => {
                id.clone()
            }
            _ => return Err(StageError::Wrong("nobody was measured".to_owned())),
        };
        let measured = match &self.stored {
            // What was stored must be the device.
            Some(store) => {
                &mut Stored { id: id.clone(), store: store.clone() }.load(*adapter).map_err(wrong("loading"))?
            }
            None => self.device.as_mut().ok_or_else(|| StageError::Wrong("there is no device".to_owned()))?,
        };
        let mut witness = stored.load(*adapter).map_err(wrong("loading the witness"))?;
        let mut heard = Vec::new();
        for packet in &self.packets {
            if reaches(packet, &stored.id) && !(*newcomer && packet.kind == PacketKind::Change) {
                let output = witness.receive(packet).map_err(wrong("the witness"))?;
                heard.extend(output.message.map(|message| (message.sender, message.plaintext)));
            }
        }
        let sent = steps.iter().filter(|step| matches!(step, Step::Send)).count();
        let expected = vec![(id.clone(), Bytes(PLAINTEXT.to_vec())); sent];
        if heard != expected {
            return Err(StageError::Wrong(format!("the witness read {} of {sent} messages", heard.len())));
        }
        let delivered =
            steps.iter().filter(|step| matches!(step, Step::Receive(Packet { kind: PacketKind::Message, .. })));
        let expected = vec![(stored.id.clone(), Bytes(PLAINTEXT.to_vec())); delivered.count()];
        if self.heard != expected {
            return Err(StageError::Wrong(format!("{} messages were read right", self.heard.len())));
        }
        agree(&mut **measured, &mut *witness).map_err(StageError::Wrong)?;
        let (speaker, speaker_id, listener, listener_id) =
            if *speaks { (&mut witness, &stored.id, measured, &id) } else { (measured, &id, &mut witness, &stored.id) };
        let said = speaker.send(&group(), CHECK).map_err(wrong("a message afterwards"))?;
        let mut understood = false;
        for packet in said.packets.iter().filter(|packet| reaches(packet, listener_id)) {
            let read = listener.receive(packet).map_err(wrong("reading a message afterwards"))?.message;
            understood |= read.is_some_and(|read| read.plaintext.0 == CHECK && read.sender == *speaker_id);
        }
        if understood { Ok(()) } else { Err(StageError::Wrong("a message afterwards was not read".to_owned())) }
    }
}

type Ready = (Start, Vec<Step>, Witness);

/// How a cell's surroundings are made.
struct Setup<'a> {
    adapter: &'a dyn Adapter,
    cell: &'a Cell,
    mls: bool,
}

impl Setup<'_> {
    fn newcomers(&self, count: usize) -> Vec<DeviceId> {
        (0..count).map(|number| DeviceId::new(&format!("n{number}"), "d")).collect()
    }

    fn create(&self) -> Result<Ready, StageError> {
        let size = self.cell.setting.size;
        let (creator, last) = (member(0), member(size - 1));
        let names: Vec<_> = (1..size - 1).map(member).collect();
        let mut add = throw_away(self.adapter, &names, &creator).map_err(refused("making bundles"))?;
        let mut observer = device(self.adapter, &last).map_err(refused("making a member"))?;
        add.push(observer.publish(&creator).map_err(refused("publishing a bundle"))?);
        let stored = Stored::of(&last, &mut *observer).map_err(refused("storing a member"))?;
        let steps = vec![Step::Create, Step::Change(Change { add, ..Change::default() }), Step::TakeOwn];
        Ok((Start::Fresh(creator), steps, Witness { stored, newcomer: true, speaks: false }))
    }

    fn in_group(&self, operation: Operation, prepared: Prepared) -> Result<Ready, StageError> {
        let count = operation.count();
        match operation {
            Operation::Create => self.create(),
            Operation::Add1 | Operation::Add10 | Operation::Add100 | Operation::Add1000 => {
                self.acting(prepared, self.adding(count)?)
            }
            Operation::Remove1 | Operation::Remove10 | Operation::Remove100 => {
                self.acting(prepared, self.removing(count))
            }
            Operation::Update => self.acting(prepared, self.refreshing()),
            Operation::ProcessAdd1 | Operation::ProcessAdd100 => self.processing(prepared, self.adding(count)?),
            Operation::ProcessRemove1 => self.processing(prepared, self.removing(count)),
            Operation::ProcessUpdate => self.processing(prepared, self.refreshing()),
            Operation::ProcessExternalCommit => self.process_external_commit(prepared),
            Operation::Join | Operation::JoinOutOfBand => self.joining(prepared, operation == Operation::JoinOutOfBand),
            Operation::ExternalCommit => self.external_commit(prepared),
            Operation::FirstSend => Ok(actor_acts(prepared, vec![Step::Send])),
            Operation::Send => Ok(actor_acts(self.after_a_message(prepared)?, vec![Step::Send])),
            Operation::FirstReceive => self.receiving(prepared),
            Operation::Receive => {
                let prepared = self.after_a_message(prepared)?;
                self.receiving(prepared)
            }
            Operation::Store => Ok(actor_acts(prepared, vec![Step::Store])),
            Operation::Load => {
                let Prepared { actor, observer } = prepared;
                let witness = Witness { stored: observer, newcomer: false, speaks: false };
                Ok((Start::Nothing, vec![Step::Load(actor)], witness))
            }
        }
    }

    /// The steps of the one who changes the group. Without a group object nothing comes into force before the actor's next
    /// message, which hands out a new sender key, or the old one to newcomers: it belongs to the change.
    fn changing(&self, change: Change) -> Vec<Step> {
        let comes_back = self.mls || !change.add.is_empty() || !change.remove.is_empty();
        let mut steps = vec![Step::Change(change)];
        if comes_back {
            steps.push(Step::TakeOwn);
        }
        if !self.mls {
            steps.push(Step::Send);
        }
        steps
    }

    fn adding(&self, count: usize) -> Result<Vec<Step>, StageError> {
        let claimed_by = member(self.cell.setting.actor.leaf(self.cell.setting.size));
        let add = throw_away(self.adapter, &self.newcomers(count), &claimed_by).map_err(refused("making bundles"))?;
        Ok(self.changing(Change { add, ..Change::default() }))
    }

    /// Members spread evenly over the tree, none of the live ones; a single one sits in the third quarter.
    fn removing(&self, count: usize) -> Vec<Step> {
        let setting = &self.cell.setting;
        let live = [setting.actor.leaf(setting.size), setting.actor.observer_leaf(setting.size)];
        let others: Vec<u32> = (0..setting.size).filter(|leaf| !live.contains(leaf)).collect();
        let remove = (0..count).map(|number| member(others[(4 * number + 3) * others.len() / (4 * count)])).collect();
        // Without a group object a removal is nothing before the sender keys are replaced; an MLS commit that removes has a
        // path anyway.
        self.changing(Change { remove, refresh: !self.mls, ..Change::default() })
    }

    fn refreshing(&self) -> Vec<Step> {
        self.changing(Change { refresh: true, ..Change::default() })
    }

    /// Where sender keys travel, a change is measured in a group where the actor's has.
    fn in_use(&self, prepared: Prepared) -> Result<Prepared, StageError> {
        if self.mls { Ok(prepared) } else { self.after_a_message(prepared) }
    }

    fn acting(&self, prepared: Prepared, steps: Vec<Step>) -> Result<Ready, StageError> {
        Ok(actor_acts(self.in_use(prepared)?, steps))
    }

    /// The same two after the actor has said something.
    fn after_a_message(&self, prepared: Prepared) -> Result<Prepared, StageError> {
        let Prepared { actor, observer } = prepared;
        let (actor, packets) = self.perform(&actor, &[Step::Send])?;
        let mut device = observer.load(self.adapter).map_err(refused("loading the observer"))?;
        for packet in packets.iter().filter(|packet| reaches(packet, &observer.id)) {
            device.receive(packet).map_err(refused("reading a message"))?;
        }
        let observer = Stored::of(&observer.id, &mut *device).map_err(refused("storing the observer"))?;
        Ok(Prepared { actor, observer })
    }

    /// Does steps beforehand: the device as it is afterwards, and its packets.
    fn perform(&self, stored: &Stored, steps: &[Step]) -> Result<(Stored, Vec<Packet>), StageError> {
        let failed = refused("what goes before the measured operation");
        let mut device = stored.load(self.adapter).map_err(&failed)?;
        let mut packets = Vec::new();
        for step in steps {
            packets.extend(step.take(&mut *device, &packets).map_err(&failed)?.packets);
        }
        Ok((Stored::of(&stored.id, &mut *device).map_err(&failed)?, packets))
    }

    /// The actor has done it; what the observer is sent is measured.
    fn processing(&self, prepared: Prepared, steps: Vec<Step>) -> Result<Ready, StageError> {
        let prepared = self.in_use(prepared)?;
        self.taking(&prepared.actor, prepared.observer, &steps)
    }

    fn taking(&self, by: &Stored, observer: Stored, steps: &[Step]) -> Result<Ready, StageError> {
        let (by, packets) = self.perform(by, steps)?;
        let receives = packets.into_iter().filter(|packet| reaches(packet, &observer.id)).map(Step::Receive).collect();
        Ok((Start::Stored(observer), receives, Witness { stored: by, newcomer: false, speaks: true }))
    }

    fn receiving(&self, prepared: Prepared) -> Result<Ready, StageError> {
        let Prepared { actor, observer } = prepared;
        self.taking(&actor, observer, &[Step::Send])
    }

    fn process_external_commit(&self, prepared: Prepared) -> Result<Ready, StageError> {
        let Prepared { actor, observer } = prepared;
        let (newcomer, info) = self.outside(&actor)?;
        self.taking(&newcomer, observer, &[Step::ExternalJoin(info)])
    }

    fn external_commit(&self, prepared: Prepared) -> Result<Ready, StageError> {
        let (newcomer, info) = self.outside(&prepared.actor)?;
        let witness = Witness { stored: prepared.actor, newcomer: false, speaks: false };
        Ok((Start::Stored(newcomer), vec![Step::ExternalJoin(info)], witness))
    }

    /// A device outside, and what it needs to join.
    fn outside(&self, member: &Stored) -> Result<(Stored, Bytes), StageError> {
        let name = &self.newcomers(1)[0];
        let mut outsider = device(self.adapter, name).map_err(refused("making a newcomer"))?;
        let mut inside = member.load(self.adapter).map_err(refused("loading a member"))?;
        let info = inside.group_info(&group()).map_err(refused("exporting the GroupInfo"))?;
        Ok((Stored::of(name, &mut *outsider).map_err(refused("storing a newcomer"))?, info))
    }

    fn joining(&self, prepared: Prepared, out_of_band: bool) -> Result<Ready, StageError> {
        let failed = refused("letting a newcomer in");
        let prepared = self.in_use(prepared)?;
        let name = &self.newcomers(1)[0];
        let mut newcomer = device(self.adapter, name).map_err(&failed)?;
        let bundle = newcomer.publish(&prepared.actor.id).map_err(&failed)?;
        let newcomer = Stored::of(name, &mut *newcomer).map_err(&failed)?;
        let mut actor = prepared.actor.load(self.adapter).map_err(&failed)?;
        if out_of_band {
            actor.tree_in_welcome(&group(), false).map_err(&failed)?;
        }
        let change = Change { add: vec![bundle], ..Change::default() };
        let mut packets = actor.change(&group(), &change).map_err(&failed)?.packets;
        actor.receive(change_of(&packets).map_err(&failed)?).map_err(&failed)?;
        if !self.mls {
            // The sender key goes out with the next message.
            packets.extend(actor.send(&group(), PLAINTEXT).map_err(&failed)?.packets);
        }
        let tree = if out_of_band { Some(actor.ratchet_tree(&group()).map_err(&failed)?) } else { None };
        let stored = Stored::of(&prepared.actor.id, &mut *actor).map_err(&failed)?;
        let for_newcomer =
            |packet: &Packet| reaches(packet, name) && !matches!(packet.kind, PacketKind::Change | PacketKind::Message);
        let steps = packets
            .into_iter()
            .filter(for_newcomer)
            .map(|packet| match (&tree, packet.kind) {
                (Some(tree), PacketKind::Welcome) => Step::JoinWithTree(packet, tree.clone()),
                _ => Step::Receive(packet),
            })
            .collect();
        Ok((Start::Stored(newcomer), steps, Witness { stored, newcomer: false, speaks: true }))
    }
}

fn actor_acts(prepared: Prepared, steps: Vec<Step>) -> Ready {
    let Prepared { actor, observer } = prepared;
    (Start::Stored(actor), steps, Witness { stored: observer, newcomer: false, speaks: false })
}
