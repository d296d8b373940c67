//! Threads that give way to those that serve picks.

/// The niceness of such a thread: beside one that serves it has a quarter of a busy processor, and it does
/// not interrupt it. With the most there is (19) it would have a seventieth, and a busy node neither probes
/// nor suggestions.
const NICE: i32 = 5;

/// Makes the calling thread, and those that it starts from now on, give way. `what` it does, for the log.
pub fn lower_priority(what: &str) {
    // On Linux both are the calling thread's. An agent that was started with less priority keeps it:
    // more can't be had without a right.
    let given = rustix::process::getpriority_process(None)
        .and_then(|nice| rustix::process::setpriority_process(None, nice.max(NICE)));
    if let Err(error) = given {
        tracing::warn!(%error, "{what}: this thread has the priority of picks");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{getpriority_process, setpriority_process};

    use super::*;

    #[test]
    fn a_thread_gives_way_and_one_that_did_so_more_keeps_to_it() {
        let nice = |first: Option<i32>| {
            let thread = std::thread::spawn(move || {
                first.into_iter().for_each(|nice| setpriority_process(None, nice).unwrap());
                lower_priority("a test");
                getpriority_process(None).unwrap()
            });
            thread.join().unwrap()
        };
        let own = getpriority_process(None).unwrap();
        assert_eq!(nice(None), own.max(NICE));
        let more = own.max(NICE) + 2;
        assert_eq!(nice(Some(more)), more.min(19));
    }
}
