//! Threads that give way to those that serve picks.

/// The niceness of such a thread: beside one that serves it has a quarter of a busy processor, and it does
/// not interrupt it. With the most there is (19) it would have a seventieth, and a busy node neither probes
/// nor suggestions.
const NICE: i32 = 5;

/// Makes the calling thread, and those that it starts from now on, give way. `what` it does, for the log.
pub fn give_way(what: &str) {
    // On Linux it is the calling thread's.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "{what}: this thread has the priority of picks");
    }
}
