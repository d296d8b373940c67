//! Threads that give way to those that serve picks.

/// Where others need a core as well, the calling thread has a part of it that is the smaller the nicer it
/// is, and it interrupts none of them. Threads that it starts inherit that. `what` it does, for the log.
pub fn give_way(nice: i32, what: &str) {
    // On Linux it is the calling thread's.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::warn!(%error, "{what}: this thread has the priority of picks");
    }
}
