//! Both directions: nine engine pairs under writes and kills, writes on both sides, unique values that swap, frozen workers.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says its seed"
)]

/// One test per engine of the monolith.
macro_rules! on_each {
    ($($name:ident: $test:ident($legacy:ident)),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                $test(Db::$legacy).await;
            }
        )*
    };
}

mod child;
mod conflict;
mod copying;
mod db;
mod faults;
mod fence;
mod modes;
mod pairs;
mod tables;
mod unique;
#[path = "../world/mod.rs"]
mod world;
mod writers;
mod zombie;
