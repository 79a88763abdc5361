//! x
use e2esm_recorder_mls::*;
use e2esm_playback::*;
fn main() -> anyhow::Result<()> {
    let r = Recorder::new("2026-11-23");
    let ads: Vec<_> = e2esm_adapter_openmls::adapters().into_iter().chain(e2esm_adapter_mls_rs::adapters()).collect();
    for v in r.record()? {
        let c = count([&v]);
        println!("{:60} {:?} {} bytes by {} {:?}", v.id, c, write(&v)?.len(), v.recorded_by.implementation, v.confirmed_by.len());
        let mut obs: std::collections::BTreeMap<String, Vec<String>> = Default::default();
        for a in &ads { for p in confirms(&v, a.as_ref()).into_iter().flatten() { obs.entry(p.delivery).or_default().push(match p.outcome { Ok(_) => "ok".into(), Err(e) => if std::env::var("T").is_ok() { format!("{} {}", e.class.label(), e.text) } else { e.class.label().to_owned() } }); } }
        for s in &v.deliveries { if let Expected::Rejected(x) = &s.expected { let o = &obs[&s.name]; 
            let set: std::collections::BTreeSet<_> = o.iter().cloned().collect();
            let want: std::collections::BTreeSet<_> = x.reasons.iter().map(|c| c.label().to_owned()).collect();
            if set != want { println!("    {} want {:?} got {:?}", s.name, want, o); } } }
    }
    Ok(())
}
