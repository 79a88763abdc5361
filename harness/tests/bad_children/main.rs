//! Children that hang, die, lie or leave others behind: see `linux`. Elsewhere there is no keeper, and nothing to test.

#[cfg(target_os = "linux")]
mod linux;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
