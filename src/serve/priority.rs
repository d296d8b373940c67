//! Lowers the priority of threads that do not serve picks.

/// The niceness of such a thread. Beside a serving thread it gets a quarter of a busy processor, and does
/// not preempt it. With the highest niceness (19) it would get a seventieth, so that a busy node would
/// have neither probes nor suggestions.
const NICE: i32 = 5;

/// Lowers the priority of the calling thread and of those that it starts later. `what`: the thread's task,
/// for the log.
pub fn lower_priority(what: &str) {
    // On Linux both calls are about the calling thread. An agent that was started with a lower priority
    // keeps it, since raising it needs a capability.
    let given = rustix::process::getpriority_process(None)
        .and_then(|nice| rustix::process::setpriority_process(None, nice.max(NICE)));
    if let Err(error) = given {
        tracing::warn!(
            %error,
            "{what}: the priority of this thread could not be lowered below that of picks"
        );
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
