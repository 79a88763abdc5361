//! The example adapter does what the README says of it: it is what somebody starts from.

#[path = "../examples/minimal.rs"]
#[allow(dead_code)] // its `main` serves stdio
mod minimal;

use e2esm_adapter::{Adapter, Call, Capability, DeviceId, Dispatcher, ErrorClass, Frame, GroupId, Reply, Request};
use e2esm_testing::{Net, all_well, readers};

fn devices() -> [DeviceId; 3] {
    ["alice", "bob", "carol"].map(|user| DeviceId::new(user, "phone"))
}

#[test]
fn members_read_and_a_removed_one_does_not() {
    let [alice, bob, carol] = devices();
    let group = GroupId("friends".to_owned());
    let mut net = Net::new(&minimal::Minimal, &devices()).expect("devices");
    net.group(&group, &alice, &[bob.clone(), carol.clone()]).expect("a group");
    let sent = net.send(&bob, &group, "hello").expect("a message");
    assert_eq!(readers(&sent, "hello"), [(alice.clone(), bob.clone()), (carol.clone(), bob.clone())]);
    all_well(net.change(&alice, &group, &[], std::slice::from_ref(&carol), false).expect("a removal")).expect("taken");
    let sent = net.send(&alice, &group, "later").expect("a message");
    assert_eq!(readers(&sent, "later"), [(bob, alice)]);
}

#[test]
fn what_it_declares_unsupported_it_answers_so() {
    let unsupported = minimal::Minimal.describe().unsupported;
    let mut dispatcher = Dispatcher::new(&minimal::Minimal);
    let [alice, ..] = devices();
    let handle = alice.to_string();
    dispatcher.handle(Frame { id: 1, request: Request::Device { handle: handle.clone(), id: alice.clone() } });
    let nothing = GroupId("nothing".to_owned());
    for (capability, call) in [
        (Capability::History, Call::ShareHistory { group: nothing.clone(), to: alice.clone() }),
        (Capability::Fingerprint, Call::Fingerprint { group: nothing.clone(), peer: alice.clone() }),
        (Capability::Linking, Call::LinkRequest {}),
        (Capability::ExternalJoin, Call::GroupInfo { group: nothing.clone() }),
        (Capability::RatchetTree, Call::RatchetTree { group: nothing }),
        (Capability::Persistence, Call::Store {}),
        (Capability::StateExport, Call::ExportState {}),
        (Capability::StandardKeys, Call::StandardKeys {}),
    ] {
        let reply = dispatcher.handle(Frame { id: 2, request: Request::Call { handle: handle.clone(), call } }).reply;
        let refused = matches!(reply, Reply::Error(error) if error.class == ErrorClass::Unsupported);
        assert_eq!(refused, unsupported.contains_key(&capability), "{}", capability.label());
    }
}
