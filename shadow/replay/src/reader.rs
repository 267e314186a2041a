//! The second pass: exchanges on their way to the run.
//!
//! Must stay true: what waits is bounded by number and by bytes; exchanges that are done already are passed over.

use crate::keeper::Keeper;
use crate::replay::{Item, ReplayConfig};
use crate::route::Routes;
use crate::scan::{Choice, Selection};
use crate::{Entry, Format, Limits, Recorded, open};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

/// Exchanges between the reader and the run.
const QUEUE: usize = 256;
/// KiB of exchanges that wait anywhere in a replay.
const KIB_MAX: u32 = 64 << 10;

/// Starts reading on a thread of its own; the channel ends with the last exchange.
pub(crate) fn start(
    config: &ReplayConfig,
    routes: Arc<Routes>,
    keeper: Arc<Keeper>,
) -> mpsc::Receiver<Item> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let reader = Reader {
        files: config.files.clone(),
        format: config.format,
        limits: config.limits,
        selection: config.selection.clone(),
        routes,
        keeper,
        sender,
        bytes: Arc::new(Semaphore::new(KIB_MAX as usize)),
        runtime: Handle::current(),
        exchanges: 0,
        selected: 0,
    };
    // It ends by itself with the files or when the receiver is gone.
    drop(tokio::task::spawn_blocking(move || reader.run()));
    receiver
}

struct Reader {
    files: Vec<PathBuf>,
    format: Option<Format>,
    limits: Limits,
    selection: Selection,
    routes: Arc<Routes>,
    keeper: Arc<Keeper>,
    sender: mpsc::Sender<Item>,
    bytes: Arc<Semaphore>,
    runtime: Handle,
    exchanges: u64,
    selected: u64,
}

impl Reader {
    fn run(mut self) {
        for file in self.files.clone() {
            // The first pass read this file; one that vanished since then is a warning in the log.
            let read = open(&file, self.format).and_then(|mut opened| {
                let limits = self.limits;
                opened.read(&limits, &mut |entry| match entry {
                    Entry::Exchange(recorded) => self.take(recorded),
                    Entry::Skipped { .. } => ControlFlow::Continue(()),
                })
            });
            if let Err(error) = read {
                tracing::warn!(%error, "a recording could not be read a second time");
            }
        }
    }

    fn take(&mut self, mut recorded: Box<Recorded>) -> ControlFlow<()> {
        let number = self.exchanges;
        self.exchanges += 1;
        let endpoint = self.routes.find(&recorded.method, &recorded.target);
        let Choice::Take(endpoint, session) = self.selection.choose(endpoint, &recorded, number)
        else {
            return ControlFlow::Continue(());
        };
        let number = self.selected;
        self.selected += 1;
        if self.selection.limit.is_some_and(|limit| number >= limit) {
            return ControlFlow::Break(());
        }
        if self.keeper.is_done(number) {
            return ControlFlow::Continue(());
        }
        if !self.selection.needs_answer {
            (recorded.legacy, recorded.new) = (None, None);
        }
        let kib = u32::try_from(recorded.bytes() >> 10).unwrap_or(KIB_MAX).clamp(1, KIB_MAX);
        let share = self.runtime.block_on(self.bytes.clone().acquire_many_owned(kib));
        let Ok(share) = share else { return ControlFlow::Break(()) };
        let item = Item { number, session, endpoint, recorded, _share: share };
        match self.sender.blocking_send(item) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}
