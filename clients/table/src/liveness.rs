//! Detects that the agent is gone, for a caller that has no connection whose end would show it.

use crate::table::Table;

/// A caller's check on the agent of a table. The agent is gone if it is awake and has published
/// nothing for `detach_after` while the caller kept checking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Liveness {
    publication: u32,
    changed_us: u64,
    looked_us: u64,
}

impl Liveness {
    /// Checks the table. `now_us` is the time of the caller's monotonic clock, in microseconds.
    /// Returns `true` once the caller should detach. A caller that picks calls this regularly. A pause
    /// of `detach_after` or longer between two calls restarts the wait: the agent may have been asleep
    /// meanwhile, and then publishes nothing.
    pub fn gone(&mut self, table: &Table, now_us: u64) -> bool {
        let detach_after = u64::from(table.detach_after_us());
        let publication = table.publication();
        let paused = now_us.saturating_sub(self.looked_us) >= detach_after;
        self.looked_us = now_us;
        if publication != self.publication || paused || table.asleep() {
            self.publication = publication;
            self.changed_us = now_us;
        }
        now_us.saturating_sub(self.changed_us) >= detach_after && detach_after > 0
    }
}

#[cfg(test)]
mod tests {
    use crate::{Capacity, TableWriter};

    use super::*;

    #[test]
    fn an_agent_that_stops_publishing_is_gone_unless_it_sleeps() {
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(1));
        writer.set_detach_after_us(100_000);
        writer.publish();
        let table = writer.table();
        let mut liveness = Liveness::default();
        let mut looks = (1_000_000..).step_by(10_000);
        let mut look = |liveness: &mut Liveness| liveness.gone(&table, looks.next().unwrap());

        assert!((0..10).all(|_| !look(&mut liveness)));
        assert!(look(&mut liveness), "100 ms without a publication");
        writer.publish();
        assert!(!look(&mut liveness));
        writer.set_asleep(true);
        assert!((0..50).all(|_| !look(&mut liveness)));
        writer.set_asleep(false);
        assert!((0..9).all(|_| !look(&mut liveness)));
        assert!(look(&mut liveness));
    }

    #[test]
    fn where_no_time_is_published_the_agent_is_never_gone() {
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(1));
        writer.publish();
        let mut liveness = Liveness::default();
        assert!((1..1_000).all(|second| !liveness.gone(&writer.table(), second * 1_000_000)));
    }

    #[test]
    fn a_caller_that_paused_waits_anew() {
        let mut writer = TableWriter::on_heap(Capacity::for_endpoints(1));
        writer.set_detach_after_us(100_000);
        writer.publish();
        let table = writer.table();
        let mut liveness = Liveness::default();
        assert!(!liveness.gone(&table, 1_000_000));
        assert!(!liveness.gone(&table, 9_000_000));
        assert!(!liveness.gone(&table, 9_050_000));
        assert!(liveness.gone(&table, 9_100_000));
    }
}
