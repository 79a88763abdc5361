//! The second oracle: in small groups real members make the history that a state stands for, and the forged tree has the
//! shape of theirs, and its length.

mod common;

use common::{device, libraries, plan};
use e2esm_adapter::{Adapter, Address, Change, Device, Packet, PacketKind};
use e2esm_forge::{Plan, Shape, State, forge};

/// All members of a group, by leaf.
struct Group<'a> {
    adapter: &'a dyn Adapter,
    plan: &'a Plan,
    members: Vec<Box<dyn Device>>,
}

impl<'a> Group<'a> {
    /// A group to which the first member has added all others in one commit without a path, and whose members have made
    /// the plan's commits since.
    fn live(adapter: &'a dyn Adapter, plan: &'a Plan) -> Self {
        let mut group = Self { adapter, plan, members: vec![device(adapter, &Plan::member(0))] };
        group.members[0].create_group(&plan.group).expect("a new group");
        let others: Vec<u32> = (1..plan.size).collect();
        if !others.is_empty() {
            group.commit(0, &[], &others, false);
        }
        for commit in plan.history() {
            group.commit(commit.by, &commit.replaced, &commit.replaced, true);
        }
        group
    }

    /// A commit that everybody takes. Whoever is added is there in place of whoever was.
    fn commit(&mut self, by: u32, remove: &[u32], add: &[u32], refresh: bool) {
        let newcomer = |leaf: &u32| (*leaf, device(self.adapter, &Plan::member(*leaf)));
        let mut newcomers: Vec<_> = add.iter().map(newcomer).collect();
        let by_name = Plan::member(by);
        let bundles =
            newcomers.iter_mut().map(|(_, device)| device.publish(&by_name).expect("a key package")).collect();
        let remove = remove.iter().map(|leaf| Plan::member(*leaf)).collect();
        let change = Change { add: bundles, remove, refresh };
        let packets = self.members[by as usize].change(&self.plan.group, &change).expect("a commit").packets;
        for packet in packets {
            match packet.kind {
                PacketKind::Change => {
                    let stay = |leaf: &usize| !change.remove.contains(&Plan::member(*leaf as u32));
                    for leaf in (0..self.members.len()).filter(stay) {
                        self.members[leaf].receive(&packet).expect("everybody takes the commit");
                    }
                }
                _ => {
                    for (_, device) in newcomers.iter_mut().filter(|(leaf, _)| is_for(&packet, *leaf)) {
                        device.receive(&packet).expect("a newcomer takes the Welcome");
                    }
                }
            }
        }
        for (leaf, device) in newcomers {
            match self.members.get_mut(leaf as usize) {
                Some(place) => *place = device,
                None => self.members.push(device),
            }
        }
    }

    /// The tree that all members have.
    fn tree(&mut self) -> Vec<u8> {
        let tree = |device: &mut Box<dyn Device>| device.ratchet_tree(&self.plan.group).expect("a tree").0;
        let trees: Vec<_> = self.members.iter_mut().map(tree).collect();
        assert!(trees.iter().all(|tree| *tree == trees[0]), "all members have one tree");
        trees.into_iter().next().expect("there are members")
    }
}

fn is_for(packet: &Packet, leaf: u32) -> bool {
    match &packet.to {
        Address::Device(device) => *device == Plan::member(leaf),
        Address::Devices(devices) => devices.contains(&Plan::member(leaf)),
        Address::Group(_) | Address::Server => false,
    }
}

/// The length of a vector's content.
fn content_length(vector: &[u8]) -> usize {
    vector.len() - (1 << (vector[0] >> 6))
}

#[test]
fn real_members_make_the_same_tree() {
    for library in &libraries() {
        // A real leaf lists other capabilities than a forged one, always the same. All the rest has the same length: which
        // parent hashes are empty, and which leaves have a lifetime.
        let mut more = None;
        for state in State::ALL {
            for size in [2, 3, 4, 7, 8, 9, 16, 33] {
                let case = format!("{}, {}, {size} members", library.describe().name, state.label());
                let plan = plan(state, size, &[]);
                let forged = forge(&plan).expect(&case).ratchet_tree;
                let live = Group::live(&**library, &plan).tree();
                let [of_forged, of_live] = [&forged, &live].map(|tree| Shape::parse(tree).expect(&case));
                for leaf in 0..size {
                    assert_eq!(of_forged.filtered_path(leaf), of_live.filtered_path(leaf), "{case}, leaf {leaf}");
                    let [forged, live] = [&of_forged, &of_live].map(|shape| shape.copath_resolution(leaf, &[]));
                    assert_eq!(forged, live, "{case}, leaf {leaf}");
                }
                assert_eq!(of_forged, of_live, "{case}");
                let more = *more.get_or_insert((content_length(&live) - content_length(&forged)) / size as usize);
                assert_eq!(content_length(&live), content_length(&forged) + size as usize * more, "{case}");
            }
        }
    }
}
