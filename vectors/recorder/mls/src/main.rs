//! x
use anyhow::Result;
use e2esm_adapter::{Adapter, Delivery, DeliveryKind, MlsStart, Start};
use e2esm_recorder_mls::{alter, fields, members::*};
fn d(bytes: &[u8]) -> Delivery { Delivery { kind: DeliveryKind::MlsMessage, from: None, bytes: bytes.into(), ratchet_tree: None } }
fn try_all(name: &str, start: &MlsStart, before: &[Vec<u8>], packet: &[u8], other: Option<&[u8]>, after: &[Vec<u8>]) -> Result<()> {
    let adapters: Vec<Box<dyn Adapter>> = e2esm_adapter_openmls::adapters().into_iter().chain(e2esm_adapter_mls_rs::adapters()).collect();
    let (_, root) = fields::message(packet)?;
    let lent = other.map(|o| fields::message(o)).transpose()?;
    let mut all = alter::of_whole(packet);
    all.extend(alter::of_fields(&root, packet, lent.as_ref().map(|(_, r)| (r, other.unwrap()))));
    println!("== {name}: {} bytes, {} alterations", packet.len(), all.len());
    let mut ps: Vec<_> = adapters.iter().map(|a| a.passive(&Start::Mls(start.clone())).unwrap()).collect();
    for b in before { for (p, a) in ps.iter_mut().zip(&adapters) { if let Err(e) = p.deliver(&d(b)) { println!("BEFORE {} {e}", a.describe().name); } } }
    for x in all.iter().filter(|x| !(name == "Welcome" && x.field.starts_with("secrets") && (!x.field.starts_with("secrets[1]") && x.change == "last element removed" || x.field.starts_with("secrets[0]") || x.field.starts_with("secrets[2]")))) {
        let r: Vec<_> = ps.iter_mut().map(|p| p.deliver(&d(&x.bytes))).collect();
        let c: Vec<_> = r.iter().map(|r| match r { Ok(_) => "ACCEPTED", Err(e) => e.class.label() }).collect();
        let t: Vec<_> = r.iter().map(|r| match r { Ok(_) => "".to_owned(), Err(e) => e.text.chars().take(90).collect() }).collect();
        println!("{:55} {:40} {:?} | {} | {}", x.field, x.change, c, t[0], t[2]);
    }
    for b in std::iter::once(&packet.to_vec()).chain(after) { for (p, a) in ps.iter_mut().zip(&adapters) { match p.deliver(&d(b)) { Err(e) => println!("AFTER {} {e}", a.describe().name), Ok(o) => println!("after ok {:?} {:?}", o.epoch, o.plaintext.map(|p| String::from_utf8(p.0))) } } }
    Ok(())
}
fn scene<M: Member>(new: fn(&'static str) -> Result<M>, what: &str) -> Result<()> {
    let mut party = Party::new(&["alice", "bob", "carol", "dave", "erin"], new)?;
    let live = ["alice", "bob", "dave"];
    let kps: Vec<_> = ["bob", "carol", "dave"].iter().map(|n| party.member(n)?.key_package()).collect::<Result<_>>()?;
    let start = party.member("carol")?.start()?;
    party.member("alice")?.create("friends")?;
    let c = party.member("alice")?.commit(&Changes { add: kps, path: true, ..Default::default() }, "")?;
    party.deliver(&c.commit, &["alice"])?;
    let w = c.welcome.unwrap();
    party.member("bob")?.join(&w, None)?;
    party.member("dave")?.join(&w, None)?;
    let e1 = party.member("bob")?.commit(&Changes { path: true, ..Default::default() }, "first")?;
    let m = party.member("bob")?.send("other", "time 9")?;
    party.deliver(&e1.commit, &live)?;
    let before = vec![w.clone(), e1.commit.clone()];
    let m1 = party.member("bob")?.send("hello", "time 10")?;
    party.deliver(&m1, &["alice", "dave"])?;
    match what {
        "welcome" => return try_all("Welcome", &start, &[], &w, None, &[e1.commit, m1]),
        "message" => return try_all("app", &start, &before, &m1, Some(&m), &[]),
        "commit" => {
            let c = party.member("bob")?.commit(&Changes { path: true, ..Default::default() }, "second")?;
            party.deliver(&c.commit, &live)?;
            let m2 = party.member("alice")?.send("again", "")?;
            return try_all("commit path", &start, &before, &c.commit, Some(&e1.commit), &[m2]);
        }
        "add" => {
            let kp = party.member("erin")?.key_package()?;
            let c = party.member("bob")?.commit(&Changes { add: vec![kp], ..Default::default() }, "second")?;
            party.deliver(&c.commit, &live)?;
            let m2 = party.member("alice")?.send("again", "")?;
            return try_all("commit add", &start, &before, &c.commit, Some(&e1.commit), &[m2]);
        }
        "refs" => {
            let kp = party.member("erin")?.key_package()?;
            let p1 = party.member("bob")?.propose(&Proposal::Update, "u")?;
            party.deliver(&p1, &["alice", "dave"])?;
            let p2 = party.member("alice")?.propose(&Proposal::Remove(3), "r")?;
            party.deliver(&p2, &["bob", "dave"])?;
            let p3 = party.member("alice")?.propose(&Proposal::Add(kp), "a")?;
            party.deliver(&p3, &["bob", "dave"])?;
            let c = party.member("alice")?.commit(&Changes { ..Default::default() }, "second")?;
            party.deliver(&c.commit, &["alice", "bob"])?;
            let m2 = party.member("alice")?.send("again", "")?;
            try_all("update proposal", &start, &before, &p1, None, &[p2.clone(), p3.clone(), c.commit.clone(), m2.clone()])?;
            try_all("remove proposal", &start, &[before.clone(), vec![p1.clone()]].concat(), &p2, Some(&p1), &[p3.clone(), c.commit.clone(), m2.clone()])?;
            try_all("add proposal", &start, &[before.clone(), vec![p1.clone(), p2.clone()]].concat(), &p3, Some(&p2), &[c.commit.clone(), m2.clone()])?;
            return try_all("commit refs", &start, &[before.clone(), vec![p1.clone(), p2.clone(), p3]].concat(), &c.commit, Some(&e1.commit), &[m2]);
        }
        _ => {}
    }
    Ok(())
}
fn main() -> Result<()> {
    for what in ["welcome", "message", "commit", "add", "refs"] {
        println!("#### mls-rs {what}");
        scene(MlsRsMember::new, what)?;
        println!("#### openmls {what}");
        scene(OpenMlsMember::new, what)?;
    }
    let mut party = Party::new(&["alice", "bob", "carol", "dave", "erin"], MlsRsMember::new)?;
    let kps: Vec<_> = ["bob", "carol", "dave"].iter().map(|n| party.member(n)?.key_package()).collect::<Result<_>>()?;
    let start = party.member("carol")?.start()?;
    party.member("alice")?.create("friends")?;
    let c = party.member("alice")?.commit(&Changes { add: kps, path: true, ..Default::default() }, "")?;
    party.deliver(&c.commit, &["alice"])?;
    let w = c.welcome.unwrap();
    let info = party.member("alice")?.group_info()?;
    let ext = party.member("erin")?.join_externally(&info, "by the link")?;
    let mut other = MlsRsMember::new("frank")?;
    let ext2 = other.join_externally(&info, "by the link")?;
    let prop = MlsRsMember::new("grace")?.propose_itself(&info, "let me in")?;
    try_all("external proposal", &start, &[w.clone()], &prop, None, &[])?;
    party.deliver(&ext, &["alice", "erin"])?;
    let m2 = party.member("erin")?.send("again", "")?;
    try_all("external commit", &start, &[w.clone()], &ext, Some(&ext2), &[m2])?;
    Ok(())
}
